//! A form is carried out.

use std::ffi::OsString;
use std::process::ExitCode;

use pipewright_api::client::Client;
use uuid::Uuid;

use super::form::{Attach, Form, Refused};
use super::{Stopped, parse, resolve};
use crate::args::Global;
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
        .map_err(|word| Refused::because(format!("{} is not text in UTF-8", word.to_string_lossy())))
}

async fn carry(words: &[String], global: &Global) -> Result<ExitCode, Stopped> {
    let is_link = match parse::could_be_link(words) {
        None => false,
        Some(name) => {
            let facts = connect::client(global)?.show().await.map_err(Failed::Client)?;
            facts.links.iter().any(|link| link.name == name)
        }
    };
    match parse::parse(words, is_link)? {
        Form::Attach(form) => attach(&form, &connect::client(global)?, global).await,
        Form::Tool { tool, guest, words } => {
            let why = format!("this agent does not run tools yet: {tool:?} in {guest}: {words:?}");
            Err(Refused::because(why).into())
        }
        Form::Wait { ifname } => Err(Refused::because(format!("cannot wait for {ifname} yet")).into()),
    }
}

async fn attach(form: &Attach, client: &Client, global: &Global) -> Result<ExitCode, Stopped> {
    for word in &form.unused {
        output::note(&format!(
            "{word}: ignored, as pipework ignores what follows the MAC address and the VLAN"
        ));
    }
    let facts = client.show().await.map_err(Failed::Client)?;
    let spec = resolve::spec(form, &facts)?;
    let attached = client.attach(Uuid::new_v4(), &spec, false).await;
    let attached = attached.map_err(|error| explain::change(&error, global))?;
    if attached.created {
        return Ok(ExitCode::SUCCESS);
    }
    output::print(&format!("Link {} exists and is up", attached.attachment.host_ifname))?;
    Ok(ExitCode::FAILURE)
}
