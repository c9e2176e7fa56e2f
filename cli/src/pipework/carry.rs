//! A form is carried out.

use std::ffi::OsString;
use std::process::ExitCode;

use pipewright_api::attachment::Attachment;
use pipewright_api::client::Client;
use pipewright_api::condition::Condition;
use pipewright_api::net::LinkName;
use pipewright_api::reason::Reason;
use pipewright_lines::pipework::{self, Attach, Form, HostInterface, Refused};
use pipewright_wait::Asked;
use uuid::Uuid;

use super::Stopped;
use crate::args::Global;
use crate::commands::tool;
use crate::connect;
use crate::explain::{self, Failed};
use crate::output;

/// Carries out a line.
pub(super) fn out(words: Vec<OsString>, global: &Global) -> Result<ExitCode, Stopped> {
    let words = words.into_iter().map(text).collect::<Result<Vec<String>, Refused>>()?;
    crate::commands::block_on(carry(&words, global))
}

fn text(word: OsString) -> Result<String, Refused> {
    word.into_string()
        .map_err(|word| Refused::Because(format!("{} is not text in UTF-8", word.to_string_lossy())))
}

async fn carry(words: &[String], global: &Global) -> Result<ExitCode, Stopped> {
    let is_link = match pipework::could_be_link(words) {
        None => false,
        Some(name) => {
            let facts = connect::client(global)?.show().await.map_err(Failed::Client)?;
            facts.links.iter().any(|link| link.name == name)
        }
    };
    match pipework::parse(words, is_link)? {
        Form::Attach(form) => attach(&form, &connect::client(global)?, global).await,
        Form::Tool { guest, line } => Ok(tool::run(&connect::client(global)?, &guest, &line, global).await?),
        // For ever, as pipework does: a service has nothing better to do without its network.
        Form::Wait { ifname } => {
            let asked = Asked { ifname, condition: Condition::Carrier, timeout: None };
            pipewright_wait::wait(&asked).map_err(|why| Failed::Because(why.to_string()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn attach(form: &Attach, client: &Client, global: &Global) -> Result<ExitCode, Stopped> {
    for word in &form.unused {
        output::note(&format!(
            "{word}: ignored, as pipework ignores what follows the MAC address and the VLAN"
        ));
    }
    let (facts, guest) = tokio::try_join!(client.show(), client.find(&form.guest)).map_err(Failed::Client)?;
    let spec = pipework::spec(form, &facts, &guest)?;
    let attached = match client.attach(Uuid::new_v4(), &spec, false).await {
        Ok(attached) => attached,
        Err(error) => {
            let is_there = error.failure().is_some_and(|failure| failure.reason() == Reason::SpecDiffers);
            if let Some(name) = spec.host_ifname.filter(|_| is_there) {
                exists(&name)?;
            }
            if let (HostInterface::Named(name), Some(failure)) = (&form.host, error.failure())
                && failure.reason() == Reason::NoUplink
            {
                return Err(pipework::unknown(name, failure.message()).into());
            }
            return Err(explain::unrepeatable(&error, global).into());
        }
    };
    if attached.created {
        return Ok(ExitCode::SUCCESS);
    }
    let Attachment { host_ifname, spec, .. } = &attached.attachment;
    exists(host_ifname.as_ref().unwrap_or(&spec.ifname))?;
    Ok(ExitCode::FAILURE)
}

/// What pipework says to a second call, and scripts look for.
fn exists(link: &LinkName) -> Result<(), Failed> {
    output::print(&format!("Link {link} exists and is up"))
}
