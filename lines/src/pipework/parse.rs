//! A line to its form.

use pipewright_api::net::{LinkName, MacAddr};
use pipewright_api::spec::GuestRef;
use pipewright_api::tool::{Tool, ToolLine};

use super::address::{self, Family};
use super::form::{Attach, Form, HostInterface, Refused};
use super::words::{self, Words};

/// Name of the link when the line does not say.
pub(super) const IFNAME: &str = "eth1";
/// The same on InfiniBand.
pub(super) const IPOIB_IFNAME: &str = "ib0";

/// A word that is a keyword by how it begins, unless a link has this name: `dummy0` is a link on many hosts. `None` when
/// the words alone tell.
pub fn could_be_link(words: &[String]) -> Option<&str> {
    let word = words::first_operand(words)?;
    let is_whole = matches!(word, "route" | "rule" | "tc" | "dummy");
    (!is_whole && keyword(word).is_some()).then_some(word)
}

/// Reads a line. `is_link`: whether the host has a link of the name that [`could_be_link`] gives.
///
/// # Errors
/// [`Refused`]; nothing was asked of anybody.
pub fn parse(words: &[String], is_link: bool) -> Result<Form, Refused> {
    let keyword = words::first_operand(words).filter(|_| !is_link).and_then(keyword);
    if let Some(Keyword::Tool(tool)) = keyword {
        return self::tool(tool, words);
    }
    let words = words::sort(words)?;
    if words.wait {
        return wait(&words);
    }
    let [host, guest, address, rest @ ..] = words.operands.as_slice() else { return Err(Refused::Syntax) };
    if host.is_empty() || guest.is_empty() || address.is_empty() {
        return Err(Refused::Syntax);
    }
    let host = match keyword {
        Some(Keyword::Dummy) => HostInterface::Dummy,
        _ => host_interface(host)?,
    };
    let family = words.family.as_deref().map(Family::parse).transpose()?;
    let Last { mac, tag, mut unused } = rest.first().map(|text| last(text)).transpose()?.unwrap_or_default();
    unused.extend(rest.iter().skip(1).cloned());
    Ok(Form::Attach(Box::new(Attach {
        host,
        direct: words.direct,
        ifname: name("-i", words.ifname.as_deref())?,
        host_ifname: name("-l", words.host_ifname.as_deref())?,
        guest: self::guest(guest)?,
        addressing: address::parse(address, family)?,
        mac,
        tag,
        unused,
    })))
}

/// What begins with a keyword is one: `routeXYZ` works as `route`.
#[derive(Debug, Clone, Copy)]
enum Keyword {
    Tool(Tool),
    Dummy,
}

fn keyword(word: &str) -> Option<Keyword> {
    [
        ("route", Keyword::Tool(Tool::Route)),
        ("rule", Keyword::Tool(Tool::Rule)),
        ("tc", Keyword::Tool(Tool::Tc)),
        ("dummy", Keyword::Dummy),
    ]
    .into_iter()
    .find_map(|(prefix, keyword)| word.starts_with(prefix).then_some(keyword))
}

/// Everything after the guest is the tool's own.
fn tool(tool: Tool, words: &[String]) -> Result<Form, Refused> {
    let [keyword, guest, rest @ ..] = words else { return Err(Refused::Syntax) };
    if let Some(option) = [keyword, guest].into_iter().find(|word| word.starts_with('-')) {
        return Err(Refused::because(format!(
            "{option}: route, rule and tc take no options of pipework's; write the guest right after them"
        )));
    }
    if rest.is_empty() || guest.is_empty() {
        return Err(Refused::Syntax);
    }
    let line = ToolLine::new(tool, rest.to_vec()).map_err(|why| Refused::because(why.to_string()))?;
    Ok(Form::Tool { guest: self::guest(guest)?, line })
}

fn wait(words: &Words) -> Result<Form, Refused> {
    let ifname = words.ifname.as_deref().unwrap_or(IFNAME);
    let ifname: LinkName = ifname.parse().map_err(|why| Refused::because(format!("-i: {why}")))?;
    match words.operands.first() {
        None => Ok(Form::Wait { ifname }),
        Some(operand) => Err(Refused::because(format!(
            "--wait takes no operand, and would wait for {ifname}: write `pipework --wait -i {operand}` to wait for {operand}"
        ))),
    }
}

fn name(flag: &str, text: Option<&str>) -> Result<Option<LinkName>, Refused> {
    text.map(str::parse).transpose().map_err(|why| Refused::because(format!("{flag}: {why}")))
}

fn guest(text: &str) -> Result<GuestRef, Refused> {
    text.parse().map_err(|why| Refused::because(format!("{why}")))
}

fn host_interface(text: &str) -> Result<HostInterface, Refused> {
    match text.strip_prefix("mac:") {
        Some(address) => match address.parse::<MacAddr>() {
            Ok(mac) if !address.starts_with("U:") => Ok(HostInterface::Mac(mac)),
            Ok(_) => Err(Refused::because(format!("{text}: U: makes an address for the guest's link only"))),
            Err(why) => Err(Refused::because(format!("mac:… names a link of the host: {why}"))),
        },
        None => text.parse().map(HostInterface::Named).map_err(|why| {
            Refused::because(format!("I do not know how to setup interface {}.\n{why}", text.escape_debug()))
        }),
    }
}

/// The fourth operand.
#[derive(Default)]
struct Last {
    mac: Option<MacAddr>,
    tag: Option<String>,
    unused: Vec<String>,
}

/// `[MAC][@VLAN]`: VLAN is what stands between the first and the second `@`.
fn last(text: &str) -> Result<Last, Refused> {
    let (mac, rest) = text.split_once('@').unwrap_or((text, ""));
    let (tag, unused) = rest.split_once('@').unwrap_or((rest, ""));
    let mac = match mac {
        "" => None,
        mac => Some(mac.parse().map_err(|why| Refused::because(format!("{why}")))?),
    };
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let unused = filled(unused).map(|rest| format!("@{rest}")).into_iter().collect();
    Ok(Last { mac, tag: filled(tag), unused })
}
