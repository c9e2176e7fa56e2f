//! Names that the kernel, OVSDB or Docker would take and that nobody should have.

use super::{Row, each};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for texts in [NO_LINK, RESERVED] {
        rows.extend(each("spec.ifname", texts, |spec, text| spec.ifname = text));
        rows.extend(each("spec.host_ifname", texts, |spec, text| spec.host_ifname = text));
    }
    rows.extend(each("spec.uplink", NO_LINK, |spec, text| spec.uplink = text));
    rows.extend(each("spec.uplink", &["", "pwabcdefghijkl", "pw2345672345zz"], |spec, text| {
        spec.uplink = text;
    }));
    rows.extend(each("spec.guest", NO_GUEST, |spec, text| spec.guest = text));
    rows.extend(each("spec.mac", NO_MAC, |spec, text| spec.mac = text));
    rows
}

/// The kernel takes all of the first paragraph as they are, and fills in a number for `%d`.
const NO_LINK: &[&str] = &[
    "a%d",
    "-x",
    "--help",
    "$(x)",
    "a;b",
    "é",
    "\u{1}",
    "a'b",
    "a\"b",
    "a`b",
    "a|b",
    "a&b",
    "a>b",
    "a*b",
    "a?b",
    "a\\b",
    "a,b",
    "a@b",
    "a=b",
    "a#b",
    "a~b",
    "[a]",
    "{a}",
    "_x",
    "1eth",
    ".x",
    "eth\u{7f}",
    "\u{202e}x",
    "éééééée",
    "\u{1b}[2J",
    //
    "lo",
    "all",
    "default",
    ".",
    "..",
    "../x",
    "a/b",
    "/",
    "a:b",
    "a b",
    " eth1",
    "eth1 ",
    "eth1\n",
    "eth1\t",
    "\0",
    "eth1\0",
    "eth\u{0}1",
    "sixteen-bytes-16",
    "a-name-that-is-too-long-by-far",
];

const RESERVED: &[&str] = &["pw", "pw0", "pw-web", "pwabcdefghijkl"];

const NO_GUEST: &[&str] = &[
    "",
    ":",
    "docker:",
    "docker:../web",
    "docker:a b",
    "docker:-x",
    "docker:a/b",
    "docker:/web",
    "docker:é",
    "docker:web\0",
    "docker:web\n",
    "docker:web?all=1",
    "docker:web#",
    "docker:%2e%2e",
    "docker:docker:web",
    "pid:",
    "pid:0",
    "pid:1",
    "pid:-1",
    "pid:web",
    "pid: 42",
    "pid:42 ",
    "pid:0x10",
    "pid:4294967296",
    "pid:4.2",
    "netns:",
    "netns:.",
    "netns:..",
    "netns:a/b",
    "netns:-x",
    "netns:/",
    "netns:/etc/passwd",
    "netns:/run/netns",
    "netns:/run/netns/",
    "netns:/run/netns/..",
    "netns:/run/netns/../../etc/passwd",
    "netns:/run/netns/a/b",
    "netns:/run/netns//web",
    "netns:/proc/1/ns/net",
    "netns:/proc/self/ns/net",
    "netns:/run/docker/netns/../x",
    "netns:/tmp/run/netns/web",
    "netns:run/netns/web",
    "garden:web",
    "lxc:a/b",
    "Docker:web",
    "container:web",
    "a b",
    "$(x)",
    "-x",
    ".x",
    "_x",
    "a;b",
    "a\nb",
    "\0",
    "wé",
    "/web",
    "web/",
    // 129 bytes
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

const NO_MAC: &[&str] = &[
    "zz",
    "00:00:00:00:00:00",
    "ff:ff:ff:ff:ff:ff",
    "01:00:5e:00:00:01",
    "33:33:00:00:00:01",
    "03:00:5e:10:00:01",
    "02:00:5e:10:00",
    "02:00:5e:10:00:01:02",
    "02:00:5e:10:00:",
    ":02:00:5e:10:00:01",
    "0200.5e10.0001",
    "02-00-5e-10-00-01",
    "02005e100001",
    "2:0:5e:10:0:1",
    "02:00:5e:10:00:0g",
    "+2:00:5e:10:00:01",
    " 02:00:5e:10:00:01",
    "02:00:5e:10:00:01\n",
    "u:seed",
    "auto",
];
