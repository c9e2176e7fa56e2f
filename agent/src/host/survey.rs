//! Looking at what a plan made, long afterwards: everything that is not as it was made, and nothing is changed.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};

use pipewright_api::net::LinkName;
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::fs::{Mode, OFlags, openat};
use uuid::Uuid;

use crate::dhcp::given::Given;
use crate::host::kernel::{Inner, Kernel};
use crate::host::link::LinkFacts;
use crate::host::message::{attribute, read_u32};
use crate::host::netlink::{KernelError, Reply, Request, Requests};
use crate::host::netns::Netns;
use crate::host::verify::{self, Difference};
use crate::host::{bridge, dhcp, guest_link, link, mark, offload, route, sys, sysctl, traffic};
use crate::step::{Ends, Expected, LeaseUse, Step, StepError};

/// `struct rtgenmsg`, padded, in bytes; and an attribute of linux/net_namespace.h.
const RTGENMSG: usize = 4;
const NETNSA_NSID: u16 = 1;
/// What tells a link of ours from others.
const GROUP: &str = "link group";
const IPV4_CONF: &str = "/proc/sys/net/ipv4/conf";

/// Which part of an attachment is not as planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The link itself, at either end.
    Link,
    /// An address.
    Address,
    /// A route to somewhere.
    Route,
    /// The default route.
    DefaultRoute,
    /// Checksums of the guest's end.
    Offload,
    /// Reverse path filtering of the guest's end.
    ReversePath,
    /// What steers traffic over the link.
    Traffic,
    /// What a DHCP server gave.
    Lease,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Of what.
    pub part: Part,
    /// The link.
    pub object: String,
    /// Of it: `state`, `MTU`, `address` …
    pub what: &'static str,
    /// What is there.
    pub found: String,
    /// What the plan says.
    pub expected: String,
}

impl Kernel {
    /// Compares a guest with the steps that were taken in it.
    ///
    /// # Errors
    /// EPERM for the host itself; the kernel's refusal.
    pub async fn survey(&self, guest: &Netns, steps: Vec<Step>) -> io::Result<Vec<Gap>> {
        let inner = self.inner.clone();
        // A socket belongs to where it was opened.
        let mut host = inner.sockets.take()?;
        let visit = move || {
            let mut there = Requests::open()?;
            if inner.is_host_here(sys::netns_cookie(&there)?)? {
                return Err(io::Error::from_raw_os_error(libc::EPERM));
            }
            let gaps = inner.gaps(&mut host, &mut there, &steps);
            inner.sockets.put_back(host);
            Ok(gaps?)
        };
        self.inner.threads.run_in(guest, visit).await
    }

    /// Compares the host with the steps that were taken in it as if it were a guest.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn survey_host(&self, steps: Vec<Step>) -> io::Result<Vec<Gap>> {
        let inner = self.inner.clone();
        self.ask(move |host| inner.gaps(host, &mut Requests::open()?, &steps)).await
    }

    /// The links of every namespace that has a number in the host's.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn links_of_guests(&self) -> io::Result<Vec<(i32, LinkFacts)>> {
        self.ask(|requests| {
            let own = Netns::own()?;
            let mut message = NsidMessage::default();
            message.attributes = vec![NsidAttribute::Fd(own.as_fd().as_raw_fd().cast_unsigned())];
            let host = requests.request(&Request::new(RouteNetlinkMessage::GetNsId(message), 0))?;
            let host = host.iter().find_map(number);
            let replies = requests.dump(RouteNetlinkMessage::GetNsId(NsidMessage::default()))?;
            // The host may have a number in itself, and a namespace that nobody told of yet has -1.
            let is_guest = |found: &i32| *found >= 0 && Some(*found) != host;
            let numbers: Vec<i32> = replies.iter().filter_map(number).filter(is_guest).collect();
            let mut all = Vec::new();
            for number in numbers {
                all.extend(guest_link::list(requests, number)?.into_iter().map(|link| (number, link)));
            }
            Ok(all)
        })
        .await
    }

    /// Whether somebody gave a link of the host an address.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn is_addressed(&self, index: u32) -> io::Result<bool> {
        self.ask(move |requests| bridge::has_address(requests, index)).await
    }
}

impl Inner {
    /// Whether frames between ports of a linux bridge are shown to iptables (br_netfilter), in the calling thread's namespace.
    pub(super) fn calls_iptables() -> bool {
        std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables")
            .is_ok_and(|text| text.trim_ascii_end() == "1")
    }

    fn gaps(
        &self,
        host: &mut Requests,
        there: &mut Requests,
        steps: &[Step],
    ) -> Result<Vec<Gap>, KernelError> {
        let mut gaps = Vec::new();
        let end = steps.iter().find_map(|step| match step {
            Step::Verify(expected) => Some(guest_end(&expected.ends)),
            _ => None,
        });
        let link = match end {
            Some((_, name)) => link::find(there, name.as_str())?,
            None => None,
        };
        let foreign = end.zip(link.as_ref()).and_then(|((id, name), link)| foreign(id, name, link));
        let is_foreign = foreign.is_some();
        gaps.extend(foreign);
        for step in steps {
            match step {
                Step::Verify(expected) if is_foreign => {
                    // Only a host's end is still ours.
                    let found = of_ends(host, there, &expected.ends)?;
                    gaps.extend(found.filter(|found| gaps.iter().all(|other| other.object != found.object)));
                }
                Step::Verify(expected) => compare(host, there, link.as_ref(), expected, &mut gaps)?,
                Step::FilterVlans { bridge, .. } => match link::find(host, bridge.as_str())? {
                    Some(found) if found.filtering.is_none() => {
                        gaps.push(gap(Part::Link, bridge, "vlan_filtering", "0", "1"));
                    }
                    // That its bridge is missing is a gap of the port.
                    Some(_) | None => {}
                },
                // What it has or lacks is its owner's business.
                _ if is_foreign => {}
                Step::DisableTxChecksum { ifname } => match offload::is_off(there, ifname.as_str()) {
                    Ok(true) => {}
                    Ok(false) => gaps.push(gap(Part::Offload, ifname, "TX checksum offload", "on", "off")),
                    // That it is missing is a gap of its own.
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                    Err(error) => return Err(error.into()),
                },
                Step::SetUp { ifname } => gaps.extend(reverse_path(there, ifname)?),
                Step::AddTraffic(wanted) => match traffic::is_there(there, wanted) {
                    Ok(true) => {}
                    Ok(false) => gaps.push(Gap {
                        part: Part::Traffic,
                        object: "the guest".to_owned(),
                        what: "traffic",
                        found: "nothing like it".to_owned(),
                        expected: step.to_string(),
                    }),
                    Err(error) if error.errno == libc::ENODEV => {}
                    Err(error) => return Err(error),
                },
                Step::ApplyLease(asked) => {
                    if let Some(lease) = self.leases.given(asked.id, asked.family) {
                        gaps.extend(leased(there, asked, &lease)?);
                    }
                }
                _ => {}
            }
        }
        Ok(gaps)
    }
}

/// The number of a namespace, as a reply has it.
fn number(reply: &Reply) -> Option<i32> {
    attribute(reply.body.get(RTGENMSG..)?, NETNSA_NSID).and_then(read_u32).map(u32::cast_signed)
}

/// Each thing by itself, so that one that is wrong hides no other.
fn compare(
    host: &mut Requests,
    there: &mut Requests,
    link: Option<&LinkFacts>,
    expected: &Expected,
    gaps: &mut Vec<Gap>,
) -> Result<(), KernelError> {
    gaps.extend(of_ends(host, there, &expected.ends)?);
    // A host's end that is wrong says nothing of the guest's addresses, and without the guest's end there are none.
    let Some(&LinkFacts { index, ref name, .. }) = link else { return Ok(()) };
    for address in &expected.addresses {
        gaps.extend(note(Part::Address, verify::verify_address(there, name, index, *address))?);
    }
    for route in &expected.routes {
        let part = if route.destination.prefix_len() == 0 { Part::DefaultRoute } else { Part::Route };
        gaps.extend(note(part, verify::verify_route(there, name, index, route))?);
    }
    Ok(())
}

/// What is wrong with the link at its ends: the host's first, which is ours whatever the guest does with its own.
fn of_ends(host: &mut Requests, there: &mut Requests, ends: &Ends) -> Result<Option<Gap>, KernelError> {
    if let Ends::Pair(veth) = ends
        && let Some(gap) = note(Part::Link, verify::verify_host_end(host, veth).map(drop))?
    {
        return Ok(Some(gap));
    }
    note(Part::Link, verify::verify_guest_end(there, ends).map(drop))
}

/// Another link under the name of the attachment's: somebody renamed that one, or it is gone.
fn foreign(id: Uuid, name: &LinkName, found: &LinkFacts) -> Option<Gap> {
    let group = mark::group(id);
    let is_ours = found.group == group;
    (!is_ours).then(|| gap(Part::Link, name, GROUP, &found.group.to_string(), &group.to_string()))
}

/// Whose it is, and its name.
fn guest_end(ends: &Ends) -> (Uuid, &LinkName) {
    match ends {
        Ends::Pair(veth) => (veth.id, &veth.guest_end),
        Ends::Single(link) => (link.id, &link.name),
        Ends::Either(end) => (end.id, &end.name),
        Ends::Whole(link) => (link.id, &link.name),
    }
}

fn note(part: Part, compared: Result<(), Difference>) -> Result<Option<Gap>, KernelError> {
    match compared {
        Ok(()) => Ok(None),
        Err(Difference::NotAsAsked(StepError::NotAsAsked { object, what, found, expected })) => {
            Ok(Some(Gap { part, object, what, found, expected }))
        }
        Err(Difference::NotAsAsked(other)) => Err(KernelError::new(libc::EIO, other.to_string())),
        // The bridge that it should be in is not there.
        Err(Difference::Unread(error)) if error.errno == libc::ENODEV => Ok(Some(Gap {
            part,
            object: String::new(),
            what: "bridge",
            found: error.text,
            expected: String::new(),
        })),
        Err(Difference::Unread(error)) => Err(error),
    }
}

/// What a server gave and the guest has not.
fn leased(there: &mut Requests, asked: &LeaseUse, lease: &Given) -> Result<Option<Gap>, KernelError> {
    let missing = dhcp::missing(there, asked, lease)?;
    Ok(missing.map(|expected| gap(Part::Lease, &asked.ifname, "lease", "nothing", &expected)))
}

/// Strict filtering drops what comes over a link from where no route leads back over it.
fn reverse_path(there: &mut Requests, ifname: &LinkName) -> Result<Option<Gap>, KernelError> {
    let Some(link) = link::find(there, ifname.as_str())? else { return Ok(None) };
    let strict = setting("all")?.max(setting(ifname.as_str())?) == 1;
    if !strict {
        return Ok(None);
    }
    let routes = route::list(there, AddressFamily::Inet, None)?;
    let mut defaults = routes.iter().filter(|route| route.destination.prefix_len() == 0);
    let is_elsewhere =
        defaults.clone().next().is_some() && defaults.all(|route| route.oif != Some(link.index));
    let found = || gap(Part::ReversePath, ifname, "rp_filter", "1", "0 or 2");
    Ok(is_elsewhere.then(found))
}

fn setting(name: &str) -> Result<u8, KernelError> {
    let folder = sysctl::link_folder(IPV4_CONF, name, OFlags::PATH)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = std::fs::File::from(openat(&folder, "rp_filter", flags, Mode::empty())?);
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text.trim_ascii_end().parse().unwrap_or_default())
}

fn gap(part: Part, object: &LinkName, what: &'static str, found: &str, expected: &str) -> Gap {
    Gap { part, object: object.to_string(), what, found: found.to_owned(), expected: expected.to_owned() }
}
