//! The floor: a warm process of its own in the host's namespace that sends the fewest messages for the same result and
//! checks, remembers and announces nothing. A line over a pipe asks for each attach.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, ensure};
use pipewright_tests::Host;

mod dhcp;
pub(crate) mod grpc;
pub(crate) mod kernel;
mod ovsdb;
pub(crate) mod process;

use kernel::{Link, Plug};
use process::Order;

/// The running process. It ends with its pipe.
#[derive(Debug)]
pub(crate) struct Floor {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Floor {
    /// Starts it in a host, with that host's Open vSwitch if there is one.
    pub(crate) fn start(host: &Host) -> Result<Self> {
        let mut command = host.inside().command(std::env::current_exe()?)?;
        command.arg("--serve-floor");
        if let Some(ovs) = host.started_ovs() {
            command.arg("--floor-ovsdb").arg(ovs.endpoint().trim_start_matches("unix:"));
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("a child without output")?);
        let mut floor = Self { child, orders, answers };
        ensure!(floor.answer()? == "ready", "the floor did not start");
        Ok(floor)
    }

    pub(crate) fn attach(&mut self, link: &Link) -> Result<()> {
        self.attach_all(std::slice::from_ref(link))
    }

    /// All orders at once: no time passes between the answer to one and the next.
    pub(crate) fn attach_all(&mut self, links: &[Link]) -> Result<()> {
        let orders: Vec<Order> = links.iter().cloned().map(Order::Attach).collect();
        self.order(&orders)
    }

    pub(crate) fn detach(&mut self, link: &Link) -> Result<()> {
        let ovs_bridge = matches!(link.plug, Plug::Ovs { .. }).then(|| link.uplink.clone());
        self.order(&[Order::Detach { host_end: link.host_end.clone(), ovs_bridge }])
    }

    pub(crate) fn dump(&mut self) -> Result<()> {
        self.order(&[Order::Dump])
    }

    fn order(&mut self, orders: &[Order]) -> Result<()> {
        let mut lines = String::new();
        for order in orders {
            lines += &serde_json::to_string(order)?;
            lines.push('\n');
        }
        self.orders.as_mut().context("the floor was ended")?.write_all(lines.as_bytes())?;
        for _ in orders {
            let answer = self.answer()?;
            ensure!(answer == "done", "the floor: {answer}");
        }
        Ok(())
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "the floor's process ended");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Err(error) = self.child.wait() {
            eprintln!("the floor's process cannot be reaped: {error}");
        }
    }
}
