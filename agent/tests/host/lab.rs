//! Hosts and guests as network namespaces of their own; they end with the test.

use std::future::Future;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use pipewright_agent::host::facts::Sought;
use pipewright_agent::host::kernel::Kernel;
use pipewright_agent::host::netns::Netns;
use pipewright_agent::host::{Refused, mark};
use pipewright_agent::step::{Ends, Expected, GuestRoute, Step, StepError, Veth};
use pipewright_api::net::{LinkName, Mtu};
use pipewright_api::spec::SwitchKind;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use uuid::Uuid;

/// A namespace made by `ip netns add`.
pub(crate) struct Space {
    pub(crate) name: String,
}

impl Space {
    pub(crate) fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pwt-{role}-{}-{count}", std::process::id());
        run("ip", &["netns", "add", &name]);
        Self { name }
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    pub(crate) fn open(&self) -> Netns {
        Netns::at(&self.path()).unwrap()
    }

    /// `ip -n NAME ARGS`
    pub(crate) fn ip(&self, args: &str) -> String {
        let all: Vec<&str> = ["-n", &self.name].into_iter().chain(args.split(' ')).collect();
        run("ip", &all)
    }

    /// A program inside.
    pub(crate) fn run(&self, line: &str) -> String {
        let all: Vec<&str> = ["netns", "exec", &self.name].into_iter().chain(line.split(' ')).collect();
        run("ip", &all)
    }

    /// Moves the calling thread, which ends with what it does there.
    fn enter(&self) {
        move_into_link_name_space(self.open().as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// On a thread of its own.
    pub(crate) fn inside<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        let there = || {
            self.enter();
            job()
        };
        thread::scope(|scope| scope.spawn(there).join().unwrap())
    }

    pub(crate) fn links(&self) -> Vec<String> {
        let shown: Vec<serde_json::Value> = serde_json::from_str(&self.ip("-j link show")).unwrap();
        shown.iter().map(|link| link["ifname"].as_str().unwrap().to_owned()).filter(|n| n != "lo").collect()
    }

    /// `ip -j -d link show NAME`
    pub(crate) fn link(&self, name: &str) -> serde_json::Value {
        let shown: serde_json::Value =
            serde_json::from_str(&self.ip(&format!("-j -d link show {name}"))).unwrap();
        shown[0].clone()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // The test may have deleted it.
        if self.path().exists() {
            run("ip", &["netns", "del", &self.name]);
        }
    }
}

pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {text}");
    String::from_utf8(output.stdout).unwrap()
}

/// A host with a kernel, on a thread and a runtime of its own: the agent sees the namespace that it starts in.
pub(crate) fn on_a_host<F: Future<Output = ()>>(test: impl FnOnce(Host) -> F + Send + 'static) {
    let space = Space::new("h");
    let thread = thread::spawn(move || {
        space.enter();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async move {
            let host = Host { kernel: Kernel::start().unwrap(), space };
            test(host).await;
        });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) struct Host {
    pub(crate) kernel: Kernel,
    pub(crate) space: Space,
}

impl Host {
    pub(crate) async fn take(&self, guest: &Space, steps: Vec<Step>) -> Result<(), Refused> {
        self.kernel.take(Some(&guest.open()), steps).await
    }

    pub(crate) async fn bridge(&self, bridge: &str) {
        let mac = "02:00:5e:10:00:fe".parse().unwrap();
        let ensure = Step::EnsureBridge { bridge: name(bridge), kind: SwitchKind::LinuxBridge, mac };
        self.kernel.take(None, vec![ensure]).await.unwrap();
    }
}

/// All that can be asked of a guest.
pub(crate) const EVERYTHING: Sought = Sought { ipv4_defaults: true, ipv6_defaults: true, ipv6: true };

pub(crate) fn name(text: &str) -> LinkName {
    text.parse().unwrap()
}

/// A pair for `eth1` of a guest, from an attachment with that number.
pub(crate) fn veth(number: u128, bridge: Option<&str>) -> Veth {
    let id = Uuid::from_u128(number);
    Veth {
        id,
        host_end: mark::host_end(id),
        host_mac: mark::mac(id).with_first_octet(0xfe),
        guest_end: name("eth1"),
        guest_mac: mark::mac(id),
        mtu: Mtu::ETHERNET,
        bridge: bridge.map(name),
        vlan: None,
        alias: None,
    }
}

/// The steps of an attachment of a linux bridge.
pub(crate) fn plan(veth: &Veth, addresses: &[&str], gateway: Option<&str>) -> Vec<Step> {
    let ifname = veth.guest_end.clone();
    let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let routes: Vec<GuestRoute> = gateway
        .map(|via| {
            GuestRoute::new(
                if via.contains(':') { "::/0" } else { "0.0.0.0/0" }.parse().unwrap(),
                Some(via.parse().unwrap()),
                ifname.clone(),
            )
        })
        .into_iter()
        .collect();
    let mut steps = vec![Step::CreateVeth(veth.clone())];
    if !veth.is_born_up() {
        let link = veth.host_end.clone();
        steps.push(Step::IgnoreRouters { link, switch: None, sets_up: true });
    }
    steps.push(Step::SetUp { ifname: ifname.clone() });
    steps.extend(addresses.iter().map(|&address| Step::AddAddress {
        ifname: ifname.clone(),
        address,
        is_checked: false,
    }));
    steps.extend(routes.iter().cloned().map(Step::AddRoute));
    steps.push(Step::AwaitForwarding { host_end: veth.host_end.clone() });
    let announced = addresses.iter().map(|address| address.addr()).collect();
    steps.push(Step::Verify(Expected { ends: Ends::Pair(veth.clone()), addresses, routes }));
    steps.push(Step::Announce { ifname, mac: veth.guest_mac, addresses: announced });
    steps
}

pub(crate) fn delete(veth: &Veth) -> Vec<Step> {
    vec![Step::DeleteLink { id: veth.id, link: veth.host_end.clone() }]
}

/// The errno of a refusal and its text.
pub(crate) fn errno(refused: &Refused) -> (i32, String) {
    match &refused.error {
        StepError::Kernel { errno, text, .. } => (*errno, text.clone()),
        other => panic!("{other}"),
    }
}
