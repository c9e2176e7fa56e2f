//! The fleet file's shape, as an operator writes it. Values are text here; [`crate::check`] reads them, so that it can say
//! all that is wrong at once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use crate::file::{self, FileError};
use crate::place::At;

/// A Pipewright fleet file: which hosts there are, which switches and segments they share, and which guests are on them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FleetFile {
    /// Name of the fleet, 1 to 63 lower-case letters, digits and '-'. Everything that the fleet makes is marked with it.
    pub fleet: At<String>,
    /// The hosts by name, each with an agent.
    pub hosts: BTreeMap<String, At<Host>>,
    /// The bridges by name. Each is the same on every host it is on.
    #[serde(default)]
    pub switches: BTreeMap<String, At<Switch>>,
    /// The layer 2 networks by name.
    #[serde(default)]
    pub segments: BTreeMap<String, At<Segment>>,
    /// Links in guests.
    #[serde(default)]
    pub attachments: Vec<At<Attachment>>,
}

/// A host with an agent.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Where its agent listens: `unix:/run/pipewright/agent.sock` or `http://192.0.2.1:7443`. TLS is not in this version.
    pub endpoint: At<String>,
}

/// A bridge.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Who runs it.
    pub kind: At<SwitchKind>,
    /// The hosts that have it.
    pub hosts: Vec<At<String>>,
    /// The link of each host that joins it to the others. One name when it is the same everywhere.
    pub uplink: Option<At<Uplink>>,
    /// What becomes of an address that the uplink has. `move` is not in this version; without it the uplink must have none.
    pub host_address: Option<At<HostAddress>>,
}

/// Who runs a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SwitchKind {
    /// The kernel's bridge.
    Linux,
    /// Open vSwitch.
    Ovs,
}

/// What becomes of a host's address on an uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostAddress {
    /// It moves to the bridge.
    Move,
}

/// The uplink of a switch: the same name on every host, or one for each.
#[derive(Debug, Clone)]
pub enum Uplink {
    /// `uplink: eth1`
    Everywhere(String),
    /// `uplink: { a: eth1, b: ens3 }`
    PerHost(BTreeMap<String, At<String>>),
}

/// A layer 2 network on a switch.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// The switch it is on.
    pub switch: At<String>,
    /// Its VLAN, 1 to 4094. Required on Open vSwitch; on a linux bridge all of its segments have one, or none.
    pub vlan: Option<At<u32>>,
    /// Its subnet, such as `192.0.2.0/24` or `2001:db8::/64`. Subnets on other VLANs may be the same.
    pub subnet: At<String>,
    /// Addresses that `ip: auto` chooses from: `192.0.2.10-192.0.2.99`. Default: the whole subnet.
    pub range: Option<At<String>>,
    /// Default gateway of the guests on it. Default: none, and a guest's default route stays as it is.
    pub gateway: Option<At<String>>,
    /// Whether agents ask the network, before a guest uses its address, if somebody has it: `off`, `quick` (0.4 s) or `full`
    /// (RFC 5227, 4 to 7 s). Default `off`.
    pub check_duplicates: Option<At<CheckDuplicates>>,
}

/// Whether an address is looked for on the network before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckDuplicates {
    /// It is used at once.
    Off,
    /// IPv4: 0.4 s. IPv6: 1 to 2 s.
    Quick,
    /// IPv4: 4 to 7 s, as RFC 5227 says. IPv6: 1 to 2 s.
    Full,
}

/// A link in a guest.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// The host that the guest runs on.
    pub host: At<String>,
    /// The guest: `docker:NAME`, `pid:N`, `netns:NAME` or a bare word.
    pub guest: At<String>,
    /// The segment that it joins.
    pub segment: At<String>,
    /// Its address with the prefix length of the segment's subnet. `auto` is not in this version.
    pub ip: Option<At<String>>,
    /// Name of the link in the guest. Default `eth1`.
    pub ifname: Option<At<String>>,
    /// MAC address, or `U:SEED` for one derived from a word. Default: derived from the attachment's id.
    pub mac: Option<At<String>>,
    /// MTU in bytes, 1280 to 9216. Default: the switch's.
    pub mtu: Option<At<u32>>,
    /// Default gateway instead of the segment's; `none` for no default route.
    pub gateway: Option<At<String>>,
    /// More routes over the link: `198.51.100.0/24`, or `198.51.100.0/24@192.0.2.1` by a next hop.
    #[serde(default)]
    pub routes: Vec<At<String>>,
    /// Whether its agent asks the network for its address first, instead of what the segment says.
    pub check_duplicates: Option<At<CheckDuplicates>>,
}

impl<'de> Deserialize<'de> for Uplink {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct NameOrMap;

        impl<'de> Visitor<'de> for NameOrMap {
            type Value = Uplink;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a link, or one for each host: { a: eth1, b: ens3 }")
            }

            fn visit_str<E>(self, name: &str) -> Result<Uplink, E> {
                Ok(Uplink::Everywhere(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Uplink, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(Uplink::PerHost)
            }
        }

        // Not an untagged enum: serde would buffer the value and lose the places in it.
        from.deserialize_any(NameOrMap)
    }
}

impl JsonSchema for Uplink {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Uplink".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The uplink of a switch: the same name on every host, or one for each.",
            "anyOf": [
                { "type": "string" },
                { "type": "object", "additionalProperties": { "type": "string" } }
            ]
        })
    }
}

/// Reads a fleet file.
///
/// # Errors
/// [`FileError`]: the file cannot be read, is too large, or has not the shape of [`FleetFile`].
pub fn read(path: &Path) -> Result<FleetFile, FileError> {
    file::parse(&file::text(path)?, &path.display().to_string())
}

/// Parses the text of a fleet file; `name` is what errors call it.
///
/// # Errors
/// [`FileError::Shape`].
pub fn parse(text: &str, name: &str) -> Result<FleetFile, FileError> {
    file::parse(text, name)
}

/// The JSON Schema of the fleet file, as pretty JSON with a newline at its end: `docs/fleet.schema.json`.
pub fn schema() -> String {
    let schema = schemars::schema_for!(FleetFile);
    // `{:#}` of a JSON value is its pretty form, and has no error.
    format!("{:#}\n", schema.as_value())
}
