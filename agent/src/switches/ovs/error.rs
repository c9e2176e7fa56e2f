//! Why Open vSwitch did not do it.

/// Why Open vSwitch did not do it, or is not known to have done it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// Nothing was changed: the database cannot be reached.
    #[error("{cause}")]
    Down {
        /// The endpoint, and what became of the connection.
        cause: String,
    },
    /// It may have been changed, and could not be read again in time.
    #[error("cannot tell whether Open vSwitch did this: {what}: {cause}")]
    Unknown {
        /// What was asked.
        what: String,
        /// What became of the connection.
        cause: String,
    },
    /// It is in the database, and ovs-vswitchd has not acted on it.
    #[error(
        "{what} is in the database, but ovs-vswitchd has not made it within {seconds} s; is ovs-vswitchd running?"
    )]
    NotRealised {
        /// The port or bridge.
        what: String,
        /// How long we waited.
        seconds: u64,
    },
    /// A port of this name exists and is not the attachment's.
    #[error("port {port} exists{} and belongs to {by}", On(bridge))]
    PortTaken {
        /// The port.
        port: String,
        /// The bridge that it is in.
        bridge: Option<String>,
        /// Whose it is, as far as its `external_ids` say.
        by: String,
    },
    /// No such bridge.
    #[error("bridge {bridge} does not exist in Open vSwitch; make it with `ovs-vsctl add-br {bridge}`")]
    NoBridge {
        /// The bridge.
        bridge: String,
    },
    /// The attachment has no port of this name.
    #[error("port {port} of this attachment does not exist in Open vSwitch")]
    NoPort {
        /// The port.
        port: String,
    },
    /// The database said no; nothing was changed.
    #[error("{what}: {details}")]
    Refused {
        /// What was asked.
        what: String,
        /// Its reason.
        details: String,
    },
    /// ovs-vswitchd says why it cannot.
    #[error("Open vSwitch cannot use {port}: {error}")]
    PortError {
        /// The port, or the bridge.
        port: String,
        /// Its reason.
        error: String,
    },
}

struct On<'a>(&'a Option<String>);

impl std::fmt::Display for On<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |bridge| write!(f, " in bridge {bridge}"))
    }
}
