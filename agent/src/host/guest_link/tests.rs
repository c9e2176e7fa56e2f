//! What is sent for kinds that no test machine has the hardware of, beside what `ip` sends.

use std::collections::BTreeMap;
use std::fs::File;

use super::*;
use crate::host::message::{HEADER, attributes, from_hex, read_text, read_u16, read_u32};

/// Types of linux/if_link.h.
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
/// Size of `struct ifinfomsg`, in bytes.
const BODY: usize = 16;

/// What iproute2 6.1.0 sends, for each mode with and without a partition. The kernel that it was taken on has no IPoIB and refuses
/// the message, but after it was sent:
///
/// ```text
/// ip netns add a; ip netns add b; ip -n a link add ib0 type veth peer name x    # any link called ib0; its number was 3
/// ip netns exec a strace -e trace=sendmsg -e write=3 \
///     ip link add link ib0 name ib1 up netns b group 7 type ipoib pkey 0x8001 mode datagram
/// ```
const DATAGRAM_8001: &str = "64000000 1000 0506 c7c8016b 00000000 00000000 00000000 01000000 01000000 \
    08001c0004000000 08001b0007000000 0800050003000000 0800030069623100 \
    24001200 0900010069706f6962000000 14000200 0600010001800000 0600020000000000";
/// `… type ipoib mode connected`
const CONNECTED: &str = "5c000000 1000 0506 c7c8016b 00000000 00000000 00000000 01000000 01000000 \
    08001c0004000000 08001b0007000000 0800050003000000 0800030069623100 \
    1c001200 0900010069706f6962000000 0c000200 0600020001000000";
/// `… type ipoib mode datagram`
const DATAGRAM: &str = "5c000000 1000 0506 c7c8016b 00000000 00000000 00000000 01000000 01000000 \
    08001c0004000000 08001b0007000000 0800050003000000 0800030069623100 \
    1c001200 0900010069706f6962000000 0c000200 0600020000000000";

/// Attributes by their types.
type Attributes = BTreeMap<u16, Vec<u8>>;

/// A message but for its length and number: type, flags, `struct ifinfomsg`, attributes. Their order and the NUL behind a name say
/// nothing to the kernel.
fn said(message: &[u8]) -> (u16, u16, Vec<u8>, Attributes, Attributes) {
    assert_eq!(read_u32(message), Some(u32::try_from(message.len()).unwrap()));
    let body = &message[HEADER..];
    let mut all: Attributes = attributes(&body[BODY..]).map(|(kind, value)| (kind, value.to_vec())).collect();
    let info = all.remove(&IFLA_LINKINFO).unwrap();
    let mut info: Attributes = attributes(&info).map(|(kind, value)| (kind, value.to_vec())).collect();
    for text in [all.get_mut(&IFLA_IFNAME), info.get_mut(&IFLA_INFO_KIND)].into_iter().flatten() {
        *text = read_text(text).into_bytes();
    }
    // Each has its own, of a number that is its own.
    for own in [IFLA_NET_NS_FD, IFLA_GROUP] {
        assert_eq!(all.remove(&own).map(|value| value.len()), Some(4), "attribute {own}");
    }
    (read_u16(&message[4..]).unwrap(), read_u16(&message[6..]).unwrap(), body[..BODY].to_vec(), all, info)
}

#[test]
fn an_ipoib_link_is_asked_for_as_ip_does() {
    let netns = File::open("/dev/null").unwrap();
    for (pkey, mode, captured) in [
        (Some("0x8001"), IpoibMode::Datagram, DATAGRAM_8001),
        // The bit of full membership is the kernel's to set, and ours.
        (Some("1"), IpoibMode::Datagram, DATAGRAM_8001),
        (None, IpoibMode::Connected, CONNECTED),
        (None, IpoibMode::Datagram, DATAGRAM),
    ] {
        let link = GuestLink {
            id: Uuid::from_u128(1),
            name: "ib1".parse().unwrap(),
            mac: None,
            mtu: None,
            what: LinkType::Ipoib {
                parent: "ib0".parse().unwrap(),
                pkey: pkey.map(|key| key.parse().unwrap()),
                mode,
            },
        };
        let captured = from_hex(&captured.replace(' ', ""), HEADER, "ip link add").unwrap();

        let sent = request(&link, &netns, Some(3), ANY);

        assert_eq!(said(sent.bytes()), said(&captured), "{link}");
    }
}

#[test]
fn a_kernel_without_ipoib_is_told_by_its_module() {
    let link = GuestLink {
        id: Uuid::from_u128(1),
        name: "ib1".parse().unwrap(),
        mac: None,
        mtu: None,
        what: LinkType::Ipoib {
            parent: "ib0".parse().unwrap(),
            pkey: "0x8001".parse().ok(),
            mode: IpoibMode::Connected,
        },
    };

    let unknown = refusal(&link, &KernelError::new(libc::EOPNOTSUPP, "Unknown device type"));
    let other_mode = refusal(&link, &KernelError::new(libc::EINVAL, "Invalid argument"));

    assert!(
        matches!(unknown, StepError::NotSupported { kind: "ipoib", module: "ib_ipoib", .. }),
        "{unknown:?}"
    );
    assert!(other_mode.to_string().contains("perhaps ib0 cannot be in that mode"), "{other_mode}");
}
