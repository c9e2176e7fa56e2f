//! The few system calls that have no safe wrapper in rustix or netlink-sys. Nothing else in the agent is unsafe.
#![allow(unsafe_code, reason = "rustix and netlink-sys have no function for these calls")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `SO_NETNS_COOKIE` of asm-generic/socket.h; the libc crate does not have it.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Gives all threads two arenas of malloc(3), and what is large a mapping of its own that ends with it. A thread that lives for
/// one operation would get an arena of its own otherwise, up to eight a processor; and an arena keeps what it once needed, such
/// as a long list's answer.
#[cfg(target_env = "gnu")]
pub fn share_arenas() {
    const LARGE: libc::c_int = 64 << 10;
    for (what, value) in
        [(libc::M_ARENA_MAX, 2), (libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, LARGE)]
    {
        // SAFETY: mallopt(3) takes two numbers and is called before there are other threads.
        let _is_known = unsafe { libc::mallopt(what, value) };
    }
}

/// The cookie of the network namespace that a socket belongs to. Cookies are not reused until the host reboots.
///
/// # Errors
/// ENOPROTOOPT on kernels before 5.14.
pub fn netns_cookie(socket: impl AsFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `cookie`; both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    checked(result).map(|_| cookie)
}

/// The kind of a namespace, as the `CLONE_NEW…` flag that makes it.
///
/// # Errors
/// ENOTTY when the file is no namespace.
pub fn namespace_kind(file: impl AsFd) -> io::Result<libc::c_int> {
    // SAFETY: NS_GET_NSTYPE takes no argument and touches no memory of ours.
    checked(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), libc::NS_GET_NSTYPE) })
}

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// One of ethtool's requests that carry a number, on a link of the socket's network namespace.
///
/// # Errors
/// ENODEV when there is no such link; EOPNOTSUPP when its driver cannot do it.
pub fn ethtool(socket: impl AsFd, link: &str, command: u32, data: u32) -> io::Result<u32> {
    let mut value = EthtoolValue { command, data };
    // SAFETY: `ifreq` is plain data for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if link.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(link.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: `request` has a name with a NUL at its end, and points to an `ethtool_value`, which is what the two commands
    // that we send (ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM) read and write. Both outlive the call.
    checked(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) })?;
    Ok(value.data)
}

/// Sends the payload of one frame out of a link through a packet socket of type `SOCK_DGRAM`: the kernel writes the
/// Ethernet header, with the link's own address as source.
///
/// # Errors
/// What sendto(2) says, such as ENETDOWN.
pub fn send_frame(
    socket: impl AsFd,
    index: u32,
    ethertype: u16,
    to: [u8; 6],
    payload: &[u8],
) -> io::Result<()> {
    let address = link_address(index, ethertype, to);
    // SAFETY: payload and address are valid for the lengths that are given with them, for the whole call.
    let sent = unsafe {
        libc::sendto(
            socket.as_fd().as_raw_fd(),
            payload.as_ptr().cast(),
            payload.len(),
            libc::MSG_DONTWAIT,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    match sent {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Registers a descriptor with the runtime, to wait until something can be read from it.
///
/// # Errors
/// What epoll_ctl(2) says.
pub fn await_input(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open and the same for as long as the `AsyncFd` owns it.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

/// Has a packet socket receive the frames of one ethertype that come in over one link.
///
/// # Errors
/// What bind(2) says, such as ENODEV.
pub fn bind_packet(socket: impl AsFd, index: u32, ethertype: u16) -> io::Result<()> {
    let address = link_address(index, ethertype, [0; 6]);
    // SAFETY: the address is valid for the length that is given with it, for the whole call.
    checked(unsafe {
        libc::bind(
            socket.as_fd().as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Takes one frame's payload off a packet socket: its length, and the MAC address that it came from. A longer one than
/// the buffer is cut.
///
/// # Errors
/// What recvfrom(2) says, such as EAGAIN or ENETDOWN.
pub fn receive_frame(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, [u8; 6])> {
    let mut address = link_address(0, 0, [0; 6]);
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel writes at most the given lengths into buffer and address, which outlive the call.
    let received = unsafe {
        libc::recvfrom(
            socket.as_fd().as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
            (&raw mut address).cast(),
            &raw mut length,
        )
    };
    let [a, b, c, d, e, g, ..] = address.sll_addr;
    usize::try_from(received)
        .map(|length| (length, [a, b, c, d, e, g]))
        .map_err(|_| io::Error::last_os_error())
}

/// Takes one datagram off a netlink socket that hears of all network namespaces: its length, which is more than the buffer's
/// when it was cut, and the number of the namespace that it is of; `None` for the socket's own.
///
/// # Errors
/// What recvmsg(2) says, such as EAGAIN or ENOBUFS.
pub fn receive_of_netns(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Option<i32>)> {
    /// Room for one control message with a number, aligned as `cmsghdr` is.
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        number: [u8; 16],
    }
    // SAFETY: both are plain data for which all zeros is a value.
    let (mut control, mut message): (Control, libc::msghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: `message` points to one vector of the buffer and to `control`, with their sizes; all outlive the call.
    let received = unsafe {
        libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT | libc::MSG_TRUNC)
    };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let is_number = message.msg_controllen > size_of::<libc::cmsghdr>()
        && control.header.cmsg_level == libc::SOL_NETLINK
        && control.header.cmsg_type == libc::NETLINK_LISTEN_ALL_NSID;
    let [a, b, c, d, ..] = control.number;
    Ok((length, is_number.then(|| i32::from_ne_bytes([a, b, c, d]))))
}

/// Has a socket receive only what a program of classic BPF lets through.
///
/// # Errors
/// EINVAL for a program that the kernel does not take.
pub fn attach_filter(socket: impl AsFd, program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?,
        // The kernel only reads from there.
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies `len` instructions from `filter`, which is that long and outlives the call.
    checked(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    })
    .map(drop)
}

fn link_address(index: u32, ethertype: u16, to: [u8; 6]) -> libc::sockaddr_ll {
    let [a, b, c, d, e, g] = to;
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [a, b, c, d, e, g, 0, 0],
    }
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}
