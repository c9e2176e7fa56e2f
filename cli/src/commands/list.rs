//! `pwctl list`.

use clap::Args;
use pipewright_api::net::LinkName;
use pipewright_api::request::ListFilter;
use pipewright_api::spec::{FleetName, GuestRef};
use pipewright_api::wire;

use crate::args::Global;
use crate::connect;
use crate::explain::Failed;
use crate::output;
use crate::table;
use crate::values;

/// List the links in guests
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pwctl list
  pwctl list --guest docker:web
  pwctl list --bridge ovs0 -o json | jq -r '.attachments[].spec.guest'")]
pub(crate) struct List {
    /// Only of this guest
    #[arg(long, value_name = "GUEST", value_parser = values::checked::<GuestRef>)]
    guest: Option<GuestRef>,
    /// Only on this bridge
    #[arg(long, value_name = "BRIDGE", value_parser = values::checked::<LinkName>)]
    bridge: Option<LinkName>,
    /// Only of this fleet
    #[arg(long, value_name = "FLEET", value_parser = values::checked::<FleetName>)]
    fleet: Option<FleetName>,
}

impl List {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failed> {
        let filter = ListFilter { guest: self.guest, bridge: self.bridge, fleet: self.fleet, id: None };
        let listing = connect::client(global)?.list(&filter).await?;
        let answer: wire::ListResponse = listing.into();
        output::answer(global.output, &answer, |answer| table::attachments(&answer.attachments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_an_empty_list_has_an_empty_list() {
        let json = serde_json::to_value(wire::ListResponse::default()).unwrap();

        assert_eq!(json, serde_json::json!({ "attachments": [], "next_page_token": "", "revision": "0" }));
    }
}
