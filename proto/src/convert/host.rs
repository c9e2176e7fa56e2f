//! Answers of the service `Host`.

use ipnet::IpNet;

use super::At;
use super::agent::ANY;
use super::spec::switch_kind;
use crate::host::{Bridge, Capability, Change, ChangeAction, HostFacts, HostLink};
use crate::reason::Failure;
use crate::spec::Kind;
use crate::wire;

impl TryFrom<wire::ShowResponse> for HostFacts {
    type Error = Failure;

    fn try_from(facts: wire::ShowResponse) -> Result<Self, Failure> {
        Ok(Self {
            hostname: facts.hostname,
            kernel: facts.kernel,
            agent_version: facts.agent_version,
            capabilities: facts.capabilities.into_iter().map(Capability::from).collect(),
            bridges: At::top("bridges").list(facts.bridges, ANY, bridge)?,
            links: At::top("links").list(facts.links, ANY, link)?,
            attachments: facts.attachments,
        })
    }
}

impl From<wire::Capability> for Capability {
    fn from(capability: wire::Capability) -> Self {
        Self { name: capability.name, present: capability.present, detail: capability.detail }
    }
}

fn bridge(at: &At<'_>, bridge: wire::Bridge) -> Result<Bridge, Failure> {
    let at_kind = at.field("kind");
    Ok(Bridge {
        name: bridge.name,
        kind: switch_kind(bridge.kind, &at_kind)?,
        mtu: bridge.mtu,
        ports: bridge.ports,
        ours: bridge.ours,
    })
}

fn link(at: &At<'_>, link: wire::HostLink) -> Result<HostLink, Failure> {
    Ok(HostLink {
        name: link.name,
        mac: link.mac,
        hardware: link.hardware,
        mtu: link.mtu,
        operstate: link.operstate,
        addresses: at.field("addresses").list(link.addresses, ANY, |at, text| at.required(&text))?,
        holder: link.holder,
    })
}

impl From<HostFacts> for wire::ShowResponse {
    fn from(facts: HostFacts) -> Self {
        Self {
            hostname: facts.hostname,
            kernel: facts.kernel,
            agent_version: facts.agent_version,
            capabilities: facts.capabilities.into_iter().map(wire::Capability::from).collect(),
            bridges: facts.bridges.into_iter().map(wire::Bridge::from).collect(),
            links: facts.links.into_iter().map(wire::HostLink::from).collect(),
            attachments: facts.attachments,
        }
    }
}

impl From<Capability> for wire::Capability {
    fn from(capability: Capability) -> Self {
        Self { name: capability.name, present: capability.present, detail: capability.detail }
    }
}

impl From<Bridge> for wire::Bridge {
    fn from(bridge: Bridge) -> Self {
        Self {
            name: bridge.name,
            kind: wire::Kind::from(Kind::from(bridge.kind)).into(),
            mtu: bridge.mtu,
            ports: bridge.ports,
            ours: bridge.ours,
        }
    }
}

impl From<HostLink> for wire::HostLink {
    fn from(link: HostLink) -> Self {
        Self {
            name: link.name,
            mac: link.mac,
            hardware: link.hardware,
            mtu: link.mtu,
            operstate: link.operstate,
            addresses: link.addresses.iter().map(IpNet::to_string).collect(),
            holder: link.holder,
        }
    }
}

impl TryFrom<wire::ApplyResponse> for Vec<Change> {
    type Error = Failure;

    fn try_from(answer: wire::ApplyResponse) -> Result<Self, Failure> {
        At::top("changes").list(answer.changes, ANY, change)
    }
}

fn change(at: &At<'_>, change: wire::Change) -> Result<Change, Failure> {
    Ok(Change {
        action: action(change.action, &at.field("action"))?,
        object: change.object,
        detail: change.detail,
        failure: change.failure.map(Failure::from),
    })
}

fn action(value: i32, at: &At<'_>) -> Result<ChangeAction, Failure> {
    match at.variant::<wire::ChangeAction>(value, "create, update and remove")? {
        None | Some(wire::ChangeAction::Unspecified) => Err(at.refuse("it is required")),
        Some(wire::ChangeAction::Create) => Ok(ChangeAction::Create),
        Some(wire::ChangeAction::Update) => Ok(ChangeAction::Update),
        Some(wire::ChangeAction::Remove) => Ok(ChangeAction::Remove),
    }
}

impl From<Vec<Change>> for wire::ApplyResponse {
    fn from(changes: Vec<Change>) -> Self {
        Self { changes: changes.into_iter().map(wire::Change::from).collect() }
    }
}

impl From<Change> for wire::Change {
    fn from(change: Change) -> Self {
        Self {
            action: wire::ChangeAction::from(change.action).into(),
            object: change.object,
            detail: change.detail,
            failure: change.failure.map(wire::Failure::from),
        }
    }
}

impl From<ChangeAction> for wire::ChangeAction {
    fn from(action: ChangeAction) -> Self {
        match action {
            ChangeAction::Create => Self::Create,
            ChangeAction::Update => Self::Update,
            ChangeAction::Remove => Self::Remove,
        }
    }
}
