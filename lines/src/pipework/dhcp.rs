//! Options of DHCP clients, as far as they say something to the server. The agent keeps the lease, renews it and
//! releases it, so what tells a client to stay, to end or to be quiet is done already.

use pipewright_api::dhcp::{ClientId, Dhcp as Wanted, Hostname};
use pipewright_api::spec::GuestRef;

use super::form::{Dhcp, DhcpClient, Refused};

/// What is asked of the agent. As pipework, it asks for the guest's name as the line has it.
///
/// # Errors
/// An option that cannot be carried out, by its name.
pub(super) fn wanted(dhcp: &Dhcp, guest: &GuestRef) -> Result<Wanted, Refused> {
    let mut wanted = Wanted { hostname: name_of(guest).parse().ok(), client_id: None };
    match dhcp.client {
        DhcpClient::Udhcpc => udhcpc(&dhcp.options, &mut wanted)?,
        DhcpClient::Dhclient => {
            flags("dhclient", &dhcp.options, &["-v", "-q", "-d", "-1", "-nw", "-4", "-w"])?;
        }
        // pipework reads dhcpcd's options and runs it without them.
        DhcpClient::Dhcpcd => {}
    }
    Ok(wanted)
}

/// The words of a guest's name, without the runtime's.
fn name_of(guest: &GuestRef) -> String {
    match guest {
        GuestRef::Docker(name)
        | GuestRef::Podman(name)
        | GuestRef::Lxc(name)
        | GuestRef::Crio(name)
        | GuestRef::Machined(name)
        | GuestRef::NetnsName(name)
        | GuestRef::Bare(name) => name.clone(),
        GuestRef::Containerd(asked) => asked.id.clone(),
        GuestRef::Pid(_) | GuestRef::NetnsPath(_) => guest.to_string(),
    }
}

fn udhcpc(options: &[String], wanted: &mut Wanted) -> Result<(), Refused> {
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        // `-x name` and `-xname`.
        let (flag, glued) = option.split_at_checked(2).unwrap_or((option, ""));
        if !matches!(flag, "-x" | "-F" | "-H" | "-h") {
            flags("udhcpc", std::slice::from_ref(option), &["-f", "-b", "-n", "-q", "-R", "-S", "-v"])?;
            continue;
        }
        let value = match glued {
            "" => {
                rest.next().ok_or_else(|| Refused::because(format!("udhcpc {flag}: its value is missing")))?
            }
            glued => glued,
        };
        match flag {
            "-x" => udhcpc_option(value, wanted)?,
            _ => wanted.hostname = Some(hostname(value)?),
        }
    }
    Ok(())
}

/// `hostname:NAME`, or `0x3d:HEX` for the client id.
fn udhcpc_option(text: &str, wanted: &mut Wanted) -> Result<(), Refused> {
    match text.split_once(':') {
        Some(("hostname", name)) => wanted.hostname = Some(hostname(name)?),
        Some(("0x3d" | "0x3D" | "61" | "clientid", hex)) => wanted.client_id = Some(client_id(hex)?),
        _ => return Err(cannot("udhcpc", &format!("-x {text}"))),
    }
    Ok(())
}

fn hostname(text: &str) -> Result<Hostname, Refused> {
    text.parse().map_err(|why| Refused::because(format!("{why}")))
}

/// udhcpc writes bytes without colons.
fn client_id(hex: &str) -> Result<ClientId, Refused> {
    let pairs: Vec<String> =
        hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned()).collect();
    pairs.join(":").parse().map_err(|why| Refused::because(format!("{why}")))
}

/// Options that change nothing here.
fn flags(client: &str, options: &[String], known: &[&str]) -> Result<(), Refused> {
    match options.iter().find(|option| !known.contains(&option.as_str())) {
        None => Ok(()),
        Some(option) => Err(cannot(client, option)),
    }
}

fn cannot(client: &str, option: &str) -> Refused {
    Refused::because(format!(
        "{client} {option}: the agent gets and keeps the lease itself and has nothing like this option; leave it out"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(client: DhcpClient, options: &str) -> Result<Wanted, String> {
        let options = options.split_whitespace().map(str::to_owned).collect();
        let guest = "web".parse().unwrap();
        wanted(&Dhcp { client, options }, &guest).map_err(|why| format!("{why:?}"))
    }

    #[test]
    fn what_a_client_tells_the_server_is_told() {
        for (client, options, hostname, id) in [
            (DhcpClient::Udhcpc, "", "web", None),
            (DhcpClient::Udhcpc, "-f", "web", None),
            (DhcpClient::Udhcpc, "-x hostname:db -f", "db", None),
            (DhcpClient::Udhcpc, "-xhostname:db", "db", None),
            (DhcpClient::Udhcpc, "-F db", "db", None),
            (DhcpClient::Udhcpc, "-x 0x3d:01020304", "web", Some("01:02:03:04")),
            (DhcpClient::Dhclient, "-v -1", "web", None),
            (DhcpClient::Dhcpcd, "--anything", "web", None),
        ] {
            let wanted = asked(client, options).unwrap();

            assert_eq!(wanted.hostname.unwrap().as_str(), hostname, "{options}");
            assert_eq!(wanted.client_id, id.map(|id| id.parse().unwrap()), "{options}");
        }
    }

    #[test]
    fn an_option_that_cannot_be_carried_out_is_named() {
        for (client, options, named) in [
            (DhcpClient::Udhcpc, "-f -r 192.0.2.7", "udhcpc -r"),
            (DhcpClient::Udhcpc, "-t 3", "udhcpc -t"),
            (DhcpClient::Udhcpc, "-x 0x0c:00", "udhcpc -x 0x0c:00"),
            (DhcpClient::Udhcpc, "-x", "udhcpc -x: its value is missing"),
            (DhcpClient::Udhcpc, "-F a_b", "is not a host name"),
            (DhcpClient::Udhcpc, "-s /tmp/script", "udhcpc -s"),
            (DhcpClient::Dhclient, "-cf /tmp/x", "dhclient -cf"),
        ] {
            let why = asked(client, options).unwrap_err();

            assert!(why.contains(named), "{options}: {why}");
        }
    }
}
