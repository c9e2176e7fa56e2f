//! What came of each host, for people and for programs.

use std::collections::BTreeMap;

use pipewright_api::host::{Change, ChangeAction};
use pipewright_api::wire;
use pipewright_coordinator::name::Name;
use pipewright_coordinator::rollout::{Mode, Outcome};
use pipewright_coordinator::status::{HostStatus, Row, Standing};
use serde::Serialize;

use crate::args::Format;
use crate::explain::{self, Failed};
use crate::output;
use crate::table::{self, clean};

/// What a plan, an apply or a destroy came to.
#[derive(Debug, Serialize)]
struct Report {
    hosts: Vec<HostReport>,
}

#[derive(Debug, Serialize)]
struct HostReport {
    host: String,
    /// `done`, `failed`, `unreachable`, `unknown`, `refused` or `not_understood`.
    outcome: &'static str,
    changes: Vec<wire::Change>,
    /// Why, when it is not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// Prints what came of each host.
pub(super) fn print(outcomes: &BTreeMap<Name, Outcome>, mode: Mode, format: Format) -> Result<(), Failed> {
    let hosts = outcomes.iter().map(|(host, outcome)| host_report(host, outcome)).collect();
    output::answer(format, &Report { hosts }, |_| text(outcomes, mode))
}

fn host_report(host: &Name, outcome: &Outcome) -> HostReport {
    let mut report = HostReport {
        host: host.to_string(),
        outcome: if outcome.is_done() { "done" } else { "failed" },
        changes: outcome.changes().iter().cloned().map(wire::Change::from).collect(),
        message: None,
        reason: None,
        request_id: None,
    };
    match outcome {
        Outcome::Changes(_) => {}
        Outcome::Unreachable(why) => {
            report.outcome = "unreachable";
            report.message = Some(why.clone());
        }
        Outcome::Unknown { request_id, why } => {
            report.outcome = "unknown";
            report.message = Some(why.clone());
            report.request_id = Some(request_id.to_string());
        }
        Outcome::Refused(failure) => {
            report.outcome = "refused";
            report.message = Some(failure.message().to_owned());
            report.reason = Some(failure.reason().name());
        }
        Outcome::Misunderstood(why) => {
            report.outcome = "not_understood";
            report.message = Some(why.clone());
        }
    }
    report
}

/// The same for people.
pub(super) fn text(outcomes: &BTreeMap<Name, Outcome>, mode: Mode) -> String {
    let mut lines = Vec::new();
    for (host, outcome) in outcomes {
        match outcome {
            Outcome::Changes(made) => {
                lines.push(format!("{host}: {}", changes(made, mode)));
                lines.extend(made.iter().map(change));
            }
            Outcome::Unreachable(why) => lines.push(format!("{host}: {why}")),
            Outcome::Unknown { request_id, why } => {
                lines.push(format!("{host}: it is unknown whether the changes were made: {why}"));
                lines.push(format!(
                    "  request {request_id}; `pwctl operation {request_id}` on {host} tells, and applying again is safe"
                ));
            }
            Outcome::Refused(failure) => {
                lines.push(format!("{host}: refused: {}", explain::refusal(failure)));
            }
            Outcome::Misunderstood(why) => lines.push(format!("{host}: {why}")),
        }
    }
    lines.push(summary(outcomes, mode));
    clean(&lines.join("\n"))
}

/// `3 changes`, in the tense of the mode.
pub(super) fn changes(changes: &[Change], mode: Mode) -> String {
    let failed = changes.iter().filter(|change| change.failure.is_some()).count();
    let number = count(changes.len() - failed, "change");
    match (changes.is_empty(), failed, mode) {
        (true, _, _) => "nothing to change".to_owned(),
        (false, 0, Mode::Plan) => format!("{number} to make"),
        (false, 0, Mode::Apply) => format!("{number} made"),
        (false, failed, Mode::Plan) => format!("{number} to make, {failed} not possible"),
        (false, failed, Mode::Apply) => format!("{number} made, {failed} not made"),
    }
}

fn change(change: &Change) -> String {
    let sign = match change.action {
        ChangeAction::Create => '+',
        ChangeAction::Update => '~',
        ChangeAction::Remove => '-',
    };
    let mut line = format!("  {sign} {} {}", change.action, change.object);
    if !change.detail.is_empty() {
        line.push_str(&format!(": {}", change.detail));
    }
    if let Some(failure) = &change.failure {
        line.push_str(&format!("\n    not made: {}", explain::refusal(failure).replace('\n', "\n    ")));
    }
    line
}

fn summary(outcomes: &BTreeMap<Name, Outcome>, mode: Mode) -> String {
    let hosts = outcomes.len();
    let done = outcomes.values().filter(|outcome| outcome.is_done()).count();
    let with_changes = outcomes.values().filter(|outcome| !outcome.changes().is_empty()).count();
    match (done == hosts, with_changes, mode) {
        (false, _, Mode::Plan) => format!("{} of {} could be asked", done, count(hosts, "host")),
        (false, _, Mode::Apply) => {
            format!("{} of {} done; apply again when the rest is in order", done, count(hosts, "host"))
        }
        (true, 0, _) => format!("{} as wanted", count(hosts, "host")),
        (true, changed, Mode::Plan) => format!("{changed} of {} to change", count(hosts, "host")),
        (true, changed, Mode::Apply) => format!("{changed} of {} changed", count(hosts, "host")),
    }
}

/// `1 host`, `2 hosts`, `2 switches`.
pub(super) fn count(number: usize, noun: &str) -> String {
    match (number, noun.ends_with('h')) {
        (1, _) => format!("1 {noun}"),
        (_, true) => format!("{number} {noun}es"),
        (_, false) => format!("{number} {noun}s"),
    }
}

#[derive(Debug, Serialize)]
struct StatusReport {
    hosts: Vec<HostStatusReport>,
}

#[derive(Debug, Serialize)]
struct HostStatusReport {
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<Vec<LinkReport>>,
    /// Why there are no links to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Debug, Serialize)]
struct LinkReport {
    guest: String,
    ifname: String,
    /// `ok`, `missing`, `differs`, `broken` or `extra`.
    standing: &'static str,
    detail: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attachment: Option<wire::Attachment>,
}

/// Prints how each host stands.
pub(super) fn print_status(hosts: &BTreeMap<Name, HostStatus>, format: Format) -> Result<(), Failed> {
    let report = hosts.iter().map(|(host, status)| match status {
        Ok(rows) => HostStatusReport {
            host: host.to_string(),
            links: Some(rows.iter().map(link_report).collect()),
            message: None,
        },
        Err(error) => {
            HostStatusReport { host: host.to_string(), links: None, message: Some(error.to_string()) }
        }
    });
    let report = StatusReport { hosts: report.collect() };
    output::answer(format, &report, status_text)
}

fn link_report(row: &Row) -> LinkReport {
    let (standing, detail) = match &row.standing {
        Standing::Ok => ("ok", Vec::new()),
        Standing::Missing => ("missing", vec!["apply makes it".to_owned()]),
        Standing::Differs(differences) => ("differs", differences.clone()),
        Standing::Broken(why) => ("broken", vec![why.clone()]),
        Standing::Extra => ("extra", vec!["apply removes it".to_owned()]),
    };
    LinkReport {
        guest: row.guest.to_string(),
        ifname: row.ifname.to_string(),
        standing,
        detail,
        attachment: row.found.clone().map(wire::Attachment::from),
    }
}

fn status_text(report: &StatusReport) -> String {
    let mut rows: Vec<[String; 5]> = Vec::new();
    for host in &report.hosts {
        if let Some(message) = &host.message {
            let dash = "-".to_owned();
            rows.push([host.host.clone(), dash.clone(), dash, "unknown".to_owned(), message.clone()]);
        }
        for link in host.links.iter().flatten() {
            rows.push([
                host.host.clone(),
                link.guest.clone(),
                link.ifname.clone(),
                link.standing.to_owned(),
                link.detail.join("; "),
            ]);
        }
    }
    let table = table::table(["HOST", "GUEST", "IFNAME", "IS", "DETAIL"], rows);
    let links = report.hosts.iter().flat_map(|host| host.links.iter().flatten());
    let (right, all) =
        links.fold((0, 0), |(right, all), link| (right + usize::from(link.standing == "ok"), all + 1));
    format!("{table}\n\n{right} of {} as wanted", count(all, "link"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipewright_api::reason::{Failure, Reason};
    use uuid::Uuid;

    fn change(action: ChangeAction, object: &str, detail: &str) -> Change {
        Change { action, object: object.to_owned(), detail: detail.to_owned(), failure: None }
    }

    fn outcomes() -> BTreeMap<Name, Outcome> {
        let busy = Failure::new(Reason::UplinkBusy, "cannot plug eth1 into ovs0: bridge br0 holds it");
        let made = vec![
            change(ChangeAction::Create, "switch ovs0", ""),
            change(ChangeAction::Update, "uplink eth1", "trunks 100 → 100,200"),
            Change { failure: Some(busy), ..change(ChangeAction::Remove, "attachment eth1 in web", "") },
        ];
        let unknown =
            Outcome::Unknown { request_id: Uuid::from_u128(7), why: "no answer in time".to_owned() };
        let entries = [
            ("a", Outcome::Changes(made)),
            ("b", Outcome::Changes(Vec::new())),
            ("c", Outcome::Unreachable("cannot reach the agent at unix:/run/c.sock: gone".to_owned())),
            ("d", unknown),
            ("e", Outcome::Refused(Failure::field("spec.fleet", "it is another coordinator's"))),
        ];
        entries.into_iter().map(|(host, outcome)| (host.parse().unwrap(), outcome)).collect()
    }

    #[test]
    fn every_host_and_every_change_is_told() {
        let expected = "\
a: 2 changes made, 1 not made
  + create switch ovs0
  ~ update uplink eth1: trunks 100 → 100,200
  - remove attachment eth1 in web
    not made: cannot plug eth1 into ovs0: bridge br0 holds it [UPLINK_BUSY]
b: nothing to change
c: cannot reach the agent at unix:/run/c.sock: gone
d: it is unknown whether the changes were made: no answer in time
  request 00000000-0000-0000-0000-000000000007; `pwctl operation 00000000-0000-0000-0000-000000000007` on d tells, \
and applying again is safe
e: refused: spec.fleet: it is another coordinator's [INVALID_FIELD]
1 of 5 hosts done; apply again when the rest is in order";

        assert_eq!(text(&outcomes(), Mode::Apply), expected);
    }

    #[test]
    fn programs_get_the_changes_as_the_agents_sent_them() {
        let hosts: Vec<HostReport> =
            outcomes().iter().map(|(host, outcome)| host_report(host, outcome)).collect();

        let json = serde_json::to_value(Report { hosts }).unwrap();

        assert_eq!(json["hosts"][0]["outcome"], "failed");
        assert_eq!(
            json["hosts"][0]["changes"][1],
            serde_json::json!({
                "action": "CHANGE_ACTION_UPDATE", "object": "uplink eth1", "detail": "trunks 100 → 100,200",
            })
        );
        assert_eq!(json["hosts"][1], serde_json::json!({ "host": "b", "outcome": "done", "changes": [] }));
        assert_eq!(
            json["hosts"][3],
            serde_json::json!({
                "host": "d", "outcome": "unknown", "changes": [], "message": "no answer in time",
                "request_id": "00000000-0000-0000-0000-000000000007",
            })
        );
        assert_eq!(json["hosts"][4]["reason"], "INVALID_FIELD");
    }

    #[test]
    fn a_status_counts_what_is_as_wanted() {
        let row = |ifname: &str, standing| Row {
            guest: "web".parse().unwrap(),
            ifname: ifname.parse().unwrap(),
            found: None,
            standing,
        };
        let rows = [
            row("eth1", Standing::Ok),
            row("eth2", Standing::Missing),
            row("eth3", Standing::Differs(vec!["VLAN 100, wanted 200".to_owned()])),
        ];
        let links = Some(rows.iter().map(link_report).collect());
        let report = StatusReport {
            hosts: vec![
                HostStatusReport { host: "a".to_owned(), links, message: None },
                HostStatusReport {
                    host: "b".to_owned(),
                    links: None,
                    message: Some("cannot reach it".to_owned()),
                },
            ],
        };

        let expected = "\
HOST  GUEST  IFNAME  IS       DETAIL
a     web    eth1    ok
a     web    eth2    missing  apply makes it
a     web    eth3    differs  VLAN 100, wanted 200
b     -      -       unknown  cannot reach it

1 of 3 links as wanted";
        assert_eq!(status_text(&report), expected);
    }
}
