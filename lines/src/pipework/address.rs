//! The third operand: an address, no address, or the name of a DHCP client.

use std::net::{IpAddr, Ipv4Addr};

use pipewright_api::net::InterfaceAddr;

use super::form::{Addressing, Dhcp, DhcpClient, Refused};

/// What `-a` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// pipework passes the text on to `ip` with a dash before it, so 4 and 6 are what worked.
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        match text {
            "4" | "inet" => Ok(Self::V4),
            "6" | "inet6" => Ok(Self::V6),
            _ => Err(Refused::because(format!("-a {text}: use 4 or 6"))),
        }
    }

    fn number(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }

    fn fits(self, address: IpAddr) -> bool {
        (self == Self::V4) == address.is_ipv4()
    }
}

/// Reads the operand. Without `-a` the address itself tells its family.
pub(super) fn parse(text: &str, family: Option<Family>) -> Result<Addressing, Refused> {
    if let Some(dhcp) = dhcp(text)? {
        return Ok(Addressing::Dhcp(dhcp));
    }
    // What follows a second @ is dropped by pipework; a line with one is a slip of the pen.
    let (address, gateway) = match text.split_once('@') {
        Some((address, gateway)) => (address, Some(gateway)),
        None => (text, None),
    };
    let Some((host, length)) = address.split_once('/') else { return Err(no_netmask(address, gateway)) };
    let gateway = gateway.map(|gateway| self::gateway(gateway, family)).transpose()?;
    if is_no_address(host, length) {
        return Ok(Addressing::None(gateway));
    }
    let cidr = match netmask(length) {
        Some(length) => format!("{host}/{length}"),
        None => address.to_owned(),
    };
    let address: InterfaceAddr = cidr.parse().map_err(|why| Refused::because(format!("{why}")))?;
    fits(family, address.addr())?;
    match gateway {
        Some(gateway) if gateway.is_ipv4() != address.addr().is_ipv4() => {
            let text =
                format!("gateway {gateway} is of another family than {address}: they must be of the same");
            Err(Refused::because(text))
        }
        _ => Ok(Addressing::Static(address, gateway)),
    }
}

/// `0/0`, which `ip addr add` takes and the kernel stores nowhere; and what it would be in IPv6, where pipework has no
/// form that works.
fn is_no_address(host: &str, length: &str) -> bool {
    length == "0" && matches!(host, "0" | "0.0.0.0" | "::")
}

/// `255.255.255.0` as 24, as iproute2 reads it.
fn netmask(text: &str) -> Option<u32> {
    let bits = u32::from(text.parse::<Ipv4Addr>().ok()?);
    (bits.leading_ones() + bits.trailing_zeros() == 32).then_some(bits.leading_ones())
}

fn no_netmask(address: &str, gateway: Option<&str>) -> Refused {
    let gateway = gateway.map(|gateway| format!("@{gateway}")).unwrap_or_default();
    match address.parse() {
        Ok(IpAddr::V4(_)) => netmask_hint(&format!("{address}/24{gateway}")),
        Ok(IpAddr::V6(_)) => netmask_hint(&format!("{address}/64{gateway}")),
        Err(_) => Refused::because(format!(
            "{address}: this is neither an address with its netmask, such as 192.0.2.10/24, nor 0/0 for none, nor a DHCP \
             client: dhcp, udhcpc, udhcpc-f, dhclient, dhclient-f or dhcpcd"
        )),
    }
}

fn netmask_hint(meant: &str) -> Refused {
    Refused::because(format!("The IP address should include a netmask.\nMaybe you meant {meant} ?"))
}

fn gateway(text: &str, family: Option<Family>) -> Result<IpAddr, Refused> {
    let gateway = text.parse().map_err(|_| {
        Refused::because(format!(
            "gateway \"{}\" is not an address: write it as 192.0.2.1, without a netmask",
            text.escape_debug()
        ))
    })?;
    fits(family, gateway)?;
    Ok(gateway)
}

fn fits(family: Option<Family>, address: IpAddr) -> Result<(), Refused> {
    match family {
        Some(family) if !family.fits(address) => {
            let other = if address.is_ipv4() { Family::V4 } else { Family::V6 };
            let (asked, is) = (family.number(), other.number());
            Err(Refused::because(format!("-a {asked}: {address} is IPv{is}; leave -a out, or write -a {is}")))
        }
        Some(_) | None => Ok(()),
    }
}

/// `CLIENT[-f][:OPTIONS]`. pipework leaves the options unquoted, so white space separates them.
fn dhcp(text: &str) -> Result<Option<Dhcp>, Refused> {
    let (word, options) = text.split_once(':').unwrap_or((text, ""));
    let client = match word {
        // Whether a client stays is no question here: the agent keeps the lease, and renews it.
        "dhcp" | "udhcpc" | "udhcpc-f" => DhcpClient::Udhcpc,
        "dhclient" | "dhclient-f" => DhcpClient::Dhclient,
        "dhcpcd" => DhcpClient::Dhcpcd,
        "dhcpcd-f" => {
            let why = "dhcpcd-f: pipework has no such form; write dhcpcd, the lease is kept and renewed";
            return Err(Refused::because(why));
        }
        _ => return Ok(None),
    };
    Ok(Some(Dhcp { client, options: options.split_whitespace().map(str::to_owned).collect() }))
}
