//! `@CONTAINER_NAME@` and the like, which stand in variables for what their writer cannot know.

use pipewright_api::attachment::GuestIdentity;

use super::Container;

/// Where compose says which project a container belongs to.
const PROJECT: &str = "com.docker.compose.project";
/// How much of an id `@CONTAINER_ID@` is.
const SHORT_ID: usize = 12;

/// The line, with what it stands for in each place. In one pass: what is put in is not read again.
pub(super) fn expand(line: &str, container: &Container) -> String {
    let GuestIdentity { id, name, .. } = &container.identity;
    let mut expanded = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('@') {
        expanded.push_str(before);
        let value = after.split_once('@').and_then(|(word, after)| {
            let value = match word {
                "CONTAINER_NAME" => name,
                "CONTAINER_ID" => id.get(..SHORT_ID).unwrap_or(id),
                "HOSTNAME" => container.hostname.as_str(),
                "INSTANCE" => last_number(name),
                "COMPOSE_PROJECT_NAME" => container.labels.get(PROJECT).map_or("", String::as_str),
                _ => return None,
            };
            Some((value, after))
        });
        match value {
            Some((value, after)) => {
                expanded.push_str(value);
                rest = after;
            }
            // That of a gateway, or of a VLAN.
            None => {
                expanded.push('@');
                rest = after;
            }
        }
    }
    expanded + rest
}

/// `3` of `web_3` and of `lab-web3-x`.
fn last_number(name: &str) -> &str {
    let tail = name.trim_end_matches(|c: char| !c.is_ascii_digit());
    let start = tail.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    tail.get(start..).unwrap_or_default()
}
