//! Pipewright's contract: types that are valid by construction, the gRPC messages, the reasons of refusals, and a
//! client that takes and returns the types.
//!
//! # Life of a request
//!
//! ```text
//! caller                                   agent
//! AttachmentSpec ── Client::attach ──► wire::AttachRequest ── Attach::try_from ──► request::Attach ──► engine
//!      (spec)          (client)            (wire)                (convert)           (request)           │
//! Attached ◄── try_from ── wire::AttachResponse ◄────────────────── from ────────── Attached ◄───────────┤
//! ClientError::Refused(Failure) ◄── tonic::Status with google.rpc.ErrorInfo ◄── from ── Failure ◄────────┘
//! ```
//!
//! - [`wire`] is generated from `pipewright/v1/*.proto`, the contract for programs in any language. Its messages can
//!   hold nonsense, so only [`convert`], the client and the agent's gRPC edge see them. In JSON (`pwctl -o json`) they
//!   have the field names of the `.proto` files.
//! - [`net`], [`spec`], [`request`], [`attachment`], [`condition`], [`event`], [`operation`], [`tool`] and [`host`] are what
//!   everything else is written with: text was parsed, defaults are filled in, enums are closed. What is stored
//!   ([`attachment::Attachment`], [`operation::Operation`], [`spec::AttachmentSpec`]) has a serde form of its own.
//! - [`convert`] is the only way in. It refuses what cannot be parsed and what does not fit together before anything
//!   has an effect, and names the field: `spec.gateways[0]: 192.0.2.10 is the link's own address: …`. Somebody who
//!   builds a spec without the wire asks [`spec::AttachmentSpec::check`] or [`spec::HostSpec::check`].
//! - [`reason`] is how a refusal travels: a [`reason::Reason`] for programs, a text for people, facts beside it.
//! - [`client`] asks again by itself when a connection ends, and tells apart what a caller can know when there is no answer:
//!   refused, never sent, or *unknown*.
//!
//! Without the feature `grpc`, which is on by default, only [`net`] and [`condition`] are there: what a program needs that
//! speaks to no agent, and has to be small.
//!
//! # Adding a field
//!
//! Write it into the `.proto` with unit, default and the `ip` or `ovs-vsctl` line that it equals; the compiler then
//! names the places in [`convert`] that lack it. Give it rows in `tests/refused/` (sent to a real agent as well) and
//! a strategy in `tests/round_trip.rs`.

#[cfg(feature = "grpc")]
pub mod attachment;
#[cfg(feature = "grpc")]
pub mod client;
pub mod condition;
#[cfg(feature = "grpc")]
pub mod convert;
#[cfg(feature = "grpc")]
pub mod dhcp;
#[cfg(feature = "grpc")]
pub mod event;
#[cfg(feature = "grpc")]
pub mod finding;
#[cfg(feature = "grpc")]
pub mod host;
#[cfg(feature = "grpc")]
pub mod labels;
pub mod net;
#[cfg(feature = "grpc")]
pub mod operation;
#[cfg(feature = "grpc")]
pub mod reason;
#[cfg(feature = "grpc")]
pub mod request;
#[cfg(feature = "grpc")]
pub mod spec;
#[cfg(feature = "grpc")]
pub mod tool;
#[cfg(feature = "grpc")]
pub mod traffic;

/// The messages and services of package `pipewright.v1`, generated from the `.proto` files beside this crate.
#[cfg(feature = "grpc")]
#[allow(clippy::all, missing_debug_implementations, unreachable_pub, unused_qualifications)]
pub mod wire {
    tonic::include_proto!("pipewright.v1");
    include!(concat!(env!("OUT_DIR"), "/pipewright.v1.serde.rs"));

    /// Every message and service of the package, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
