//! The floor behind gRPC: the same messages to the kernel, asked for by the same request as the agent is, of a server that waits
//! until frames pass, tells the neighbours, and does nothing else: no look, no check, no record. What it takes is the least that an
//! attach by gRPC can.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::stream::Empty;
use pipewright_agent::host::{arp, sys};
use pipewright_api::request::Attach;
use pipewright_api::spec::{Addressing, AttachmentSpec, GuestRef};
use pipewright_api::wire;
use pipewright_api::wire::agent_client::AgentClient;
use pipewright_api::wire::agent_server::{Agent, AgentServer};
use pipewright_tests::Host;
use pipewright_tests::process::Process;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::dhcp;
use super::kernel::{Kernel, Link, Plug, open_netns, packet_socket};
use crate::guests::{Net, Seat};

/// What it says when it listens, and where.
const READY: &str = "ready";
const SOCKET: &str = "socket";
/// More than it takes to start.
const STARTS: Duration = Duration::from_secs(10);

/// The running process. It is ended with this value.
#[derive(Debug)]
pub(crate) struct BehindGrpc {
    _process: Process,
    folder: tempfile::TempDir,
}

impl BehindGrpc {
    /// Starts it in a host; returns once it listens.
    pub(crate) fn start(host: &Host) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = host.inside().command(std::env::current_exe()?)?;
        command.arg("--serve-grpc").arg(folder.path().join(SOCKET));
        let process = Process::spawn("the floor's server", &mut command)?;
        process.wait_line(|line| line == READY, STARTS)?;
        Ok(Self { _process: process, folder })
    }

    /// A connection.
    pub(crate) async fn connect(&self) -> Result<AgentClient<Channel>> {
        let endpoint = Endpoint::from_shared(format!("unix:{}", self.folder.path().join(SOCKET).display()))?;
        Ok(AgentClient::new(endpoint.connect().await?))
    }
}

/// One attach, from the request to its answer.
pub(crate) async fn attach(client: &AgentClient<Channel>, seat: &Seat, net: Net) -> Result<()> {
    let asked = Attach { request_id: Uuid::new_v4(), spec: seat.spec(net)?, dry_run: false };
    client.clone().attach(wire::AttachRequest::from(asked)).await?;
    Ok(())
}

/// Serves until it is killed.
pub(crate) fn serve(path: &Path) -> Result<()> {
    let kernel = Mutex::new(Kernel::open()?);
    let (closing, closed) = mpsc::channel();
    std::thread::spawn(move || closed.into_iter().for_each(drop::<OwnedFd>));
    // What blocks, blocks for less than it would take to wake another thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connections = UnixListenerStream::new(UnixListener::bind(path)?);
        println!("{READY}");
        let service = AgentServer::new(Bare { kernel, closing });
        Ok(Server::builder().add_service(service).serve_with_incoming(connections).await?)
    })
}

struct Bare {
    kernel: Mutex<Kernel>,
    /// Closing a packet socket waits for an RCU grace period: somebody else does it.
    closing: mpsc::Sender<OwnedFd>,
}

impl Bare {
    fn make(&self, asked: &Attach) -> Result<()> {
        let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        let link = link(asked)?;
        let netns = open_netns(&link.netns)?;
        kernel.plug(&link, &netns)?;
        dhcp::configure(&mut kernel, &link, &netns)?;
        kernel.await_forwarding(&link.host_end)?;
        self.closing.send(announce(&kernel, &link, &netns)?)?;
        Ok(())
    }
}

/// Gratuitous ARP (RFC 5227 §3).
fn announce(kernel: &Kernel, link: &Link, netns: &File) -> Result<OwnedFd> {
    let (inside, socket) = kernel.enter(link, netns, |_| packet_socket())?;
    let (address, _) = link.address.context("no address to announce")?;
    let packet = arp::announcement(link.mac.try_into()?, address);
    sys::send_frame(&socket, inside.index, arp::ETHERTYPE, arp::EVERYBODY, &packet)?;
    Ok(socket)
}

fn link(asked: &Attach) -> Result<Link> {
    let AttachmentSpec { guest, ifname, uplink, addressing, gateways, .. } = &asked.spec;
    let GuestRef::NetnsName(name) = guest else { bail!("guest {guest} is no named namespace") };
    let Addressing::Static(addresses) = addressing else { bail!("no address is asked for") };
    let first = addresses.first().context("no address is asked for")?.net();
    let (IpAddr::V4(address), Some(IpAddr::V4(gateway))) = (first.addr(), gateways.first()) else {
        bail!("an address and a gateway of IPv4 are to be asked for");
    };
    let [_, _, c, d] = address.octets();
    let number = u16::from_be_bytes([c, d]);
    ensure!(number > 0, "the network's own address");
    Ok(Link {
        host_end: format!("grpc{number}"),
        netns: format!("/run/netns/{name}"),
        ifname: ifname.to_string(),
        mac: [2, 0, 0, 1, c, d],
        address: Some((address, first.prefix_len())),
        gateway: Some(*gateway),
        uplink: uplink.to_string(),
        plug: Plug::LinuxBridge,
    })
}

/// Whatever else is asked for.
fn only_attach<T>() -> Result<T, Status> {
    Err(Status::unimplemented("the floor only attaches"))
}

#[tonic::async_trait]
impl Agent for Bare {
    type WatchStream = Empty<Result<wire::WatchResponse, Status>>;

    async fn attach(
        &self,
        request: Request<wire::AttachRequest>,
    ) -> Result<Response<wire::AttachResponse>, Status> {
        let asked = Attach::try_from(request.into_inner())?;
        self.make(&asked).map_err(|error| Status::internal(format!("{error:#}")))?;
        Ok(Response::new(wire::AttachResponse::default()))
    }

    async fn detach(
        &self,
        _: Request<wire::DetachRequest>,
    ) -> Result<Response<wire::DetachResponse>, Status> {
        only_attach()
    }

    async fn list(&self, _: Request<wire::ListRequest>) -> Result<Response<wire::ListResponse>, Status> {
        only_attach()
    }

    async fn wait(&self, _: Request<wire::WaitRequest>) -> Result<Response<wire::WaitResponse>, Status> {
        only_attach()
    }

    async fn watch(&self, _: Request<wire::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        only_attach()
    }

    async fn get_operation(
        &self,
        _: Request<wire::GetOperationRequest>,
    ) -> Result<Response<wire::GetOperationResponse>, Status> {
        only_attach()
    }
}
