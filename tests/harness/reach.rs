//! Who reaches whom: by ping and by TCP. Both, because a checksum that nobody computed lets ping through and kills TCP.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::netns::Inside;
use crate::process::{readable_within, run};

/// Long enough for an address resolution and one lost first segment; what has not arrived then does not arrive.
const DEADLINE: Duration = Duration::from_secs(3);
/// More than a first window, so that full segments go both ways.
const PAYLOAD: usize = 256 * 1024;

/// What got through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// An ICMP echo was answered.
    pub ping: bool,
    /// 256 KiB went over a TCP connection and were acknowledged by the other program.
    pub tcp: bool,
}

impl Reach {
    /// All gets through.
    pub const BOTH: Self = Self { ping: true, tcp: true };
    /// Nothing does.
    pub const NEITHER: Self = Self { ping: false, tcp: false };
}

/// Tries both at once, from one namespace to an address in another.
///
/// # Errors
/// Something else than the network fails: a namespace is gone, no `ping`.
pub fn reach(from: &Inside, to: &Inside, address: IpAddr) -> Result<Reach> {
    std::thread::scope(|scope| {
        let tcp = scope.spawn(|| tcp(from, to, address));
        let ping = ping(from, address)?;
        let tcp = tcp.join().map_err(|_| anyhow::anyhow!("the TCP thread panicked"))??;
        Ok(Reach { ping, tcp })
    })
}

/// Whether an echo request is answered within 3 s.
///
/// # Errors
/// `ping` cannot be run.
pub fn ping(from: &Inside, address: IpAddr) -> Result<bool> {
    let ended = run(from.command("ping")?.args([
        "-n",
        "-q",
        "-c",
        "1",
        "-i",
        "0.2",
        "-w",
        "3",
        &address.to_string(),
    ]))?;
    // 1 is "no answer", 2 is everything else; an address that cannot be routed is an answer, too.
    let unroutable = ended.stderr.contains("nreachable");
    ensure!(ended.status.code() != Some(2) || unroutable, "ping {address}: {}", ended.stderr);
    Ok(ended.status.success())
}

/// Whether data gets to a program in `to` and an answer back, within 3 s.
///
/// # Errors
/// A namespace is gone.
pub fn tcp(from: &Inside, to: &Inside, address: IpAddr) -> Result<bool> {
    // Any address: the one asked for may belong to another namespace, and then nobody must come here.
    let any =
        if address.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let listener = to.act(|| Ok(TcpListener::bind((any, 0))?)).context("cannot listen")?;
    let target = SocketAddr::new(address, listener.local_addr()?.port());
    std::thread::scope(|scope| {
        let server = scope.spawn(|| serve(&listener));
        let sent = from.act(|| Ok(send(target).is_ok()))?;
        let served = server.join().map_err(|_| anyhow::anyhow!("the server's thread panicked"))?.is_ok();
        Ok(sent && served)
    })
}

fn serve(listener: &TcpListener) -> Result<()> {
    ensure!(readable_within(listener, DEADLINE)?, "nobody came");
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    ensure!(all.len() == PAYLOAD, "got {} bytes of {PAYLOAD}", all.len());
    stream.write_all(b"all")?;
    Ok(())
}

fn send(target: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&target, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(&vec![0x5a; PAYLOAD])?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer == "all", "the other end said {answer:?}");
    Ok(())
}
