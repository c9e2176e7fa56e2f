//! 802.1Q sub-interfaces of the host's links: made when missing, and deleted if they are ours.

use pipewright_api::net::{LinkName, VlanId};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage};

use crate::host::link::{self, LinkFacts};
use crate::host::netlink::{KernelError, Request, Requests};
use crate::host::sysctl::LinkSettings;
use crate::host::{ignore_routers, mark};
use crate::step::StepError;

/// `ip link add link PARENT name NAME type vlan id VID`, unless it is there, and `ip link set NAME up`. The host hears no routers
/// on one of ours, from before it is up.
///
/// # Errors
/// NOT_SUPPORTED without 8021q; EEXIST when the name is that of something else, or another namespace has the VLAN.
pub(super) fn ensure(
    host: &mut Requests,
    settings: &LinkSettings,
    name: &LinkName,
    parent: &LinkName,
    vlan: VlanId,
    step: impl Fn() -> String,
) -> Result<(), StepError> {
    let refuse =
        |error: KernelError| StepError::Kernel { step: step(), errno: error.errno, text: error.text };
    let index = link::index(host, parent).map_err(refuse)?;
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_string()),
        LinkAttribute::Link(index),
        LinkAttribute::Group(mark::VLAN_LINK),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(vlan.get())])),
        ]),
    ];
    let request = Request::new(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL);
    let is_made = match host.request(&request) {
        Ok(_) => true,
        Err(error) => match error.errno {
            libc::EOPNOTSUPP => {
                return Err(StepError::NotSupported { step: step(), kind: "vlan", module: "8021q" });
            }
            libc::EEXIST => false,
            _ => return Err(refuse(error)),
        },
    };
    if is_made || found(host, name, parent, vlan, index).map_err(refuse)?.group == mark::VLAN_LINK {
        ignore_routers::ignore(settings, name).map_err(refuse)?;
    }
    host.request(&link::set_up(name)).map(drop).map_err(refuse)
}

/// The sub-interface that is there already.
fn found(
    host: &mut Requests,
    name: &LinkName,
    parent: &LinkName,
    vlan: VlanId,
    index: u32,
) -> Result<LinkFacts, KernelError> {
    let text = match link::find(host, name.as_str())? {
        Some(found) if found.vlan == Some(vlan.get()) && found.parent == Some(index) => return Ok(found),
        Some(found) => {
            format!("{name} exists and is a {}, not VLAN {vlan} of {parent}", found.kind_or_plain())
        }
        None => format!("another namespace has VLAN {vlan} of {parent}"),
    };
    Err(KernelError::new(libc::EEXIST, text))
}

/// The sub-interface if it is ours and nothing in the host is on it.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn to_release(host: &mut Requests, name: &LinkName) -> Result<Option<LinkFacts>, KernelError> {
    let is_ours = |link: &LinkFacts| link.kind == "vlan" && link.group == mark::VLAN_LINK;
    let Some(found) = link::find(host, name.as_str())?.filter(is_ours) else { return Ok(None) };
    let is_in_use =
        found.master.is_some() || link::list(host, None)?.iter().any(|link| link.parent == Some(found.index));
    Ok((!is_in_use).then_some(found))
}
