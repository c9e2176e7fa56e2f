//! What all tests share: one server, and what it answers.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::Moment;
use super::client::Identity;
use super::message::{Kind, Message, option};

mod packets;
mod stories;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const SERVER_MAC: [u8; 6] = [2, 0, 0x5e, 0x10, 0, 1];
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

fn identity() -> Identity {
    Identity {
        mac: "02:00:5e:10:00:77".parse().unwrap(),
        client_id: b"\0web/eth1".to_vec(),
        hostname: Some("web".to_owned()),
        broadcast: false,
    }
}

fn at(secs: u64) -> Moment {
    Duration::from_secs(1000 + secs)
}

/// A server's answer: 80 s, so T1 is 40 and T2 is 70.
fn answer(kind: Kind, to: &Message) -> Message {
    let answer = Message::of_client(kind, to.mac, to.xid)
        .with(option::SERVER, SERVER.octets())
        .with(option::MASK, [255, 255, 255, 0])
        .with(option::ROUTERS, SERVER.octets())
        .with(option::LEASE_TIME, 80_u32.to_be_bytes());
    Message { is_reply: true, yiaddr: ADDRESS, ..answer }
}
