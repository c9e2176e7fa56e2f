//! Which agent is asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pipewright_api::client::{Client, Endpoint};
use pipewright_coordinator::inventory;
use pipewright_coordinator::name::Name;

use crate::args::Global;
use crate::explain::Failed;

/// What the environment says.
#[derive(Debug)]
pub(crate) struct Environment {
    host: Option<String>,
    endpoint: Option<String>,
    config: Option<PathBuf>,
    home: Option<PathBuf>,
    system: PathBuf,
}

impl Environment {
    fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            host: text("PWCTL_HOST"),
            endpoint: text("PWCTL_ENDPOINT"),
            config: path("PWCTL_CONFIG"),
            home: path("XDG_CONFIG_HOME").or_else(|| path("HOME").map(|home| home.join(".config"))),
            system: PathBuf::from("/etc"),
        }
    }

    /// The files in which hosts are looked up: the first that there is. One that was asked for must be there.
    fn files(&self) -> Vec<PathBuf> {
        match &self.config {
            Some(file) => vec![file.clone()],
            None => {
                let folders = self.home.iter().chain([&self.system]);
                folders.map(|folder| folder.join("pipewright/pwctl.yaml")).collect()
            }
        }
    }
}

/// A client of the agent that the arguments and the environment name. Needs a tokio runtime; connects with its first call.
pub(crate) fn client(global: &Global) -> Result<Client, Failed> {
    let endpoint = endpoint(global, &Environment::read())?;
    Ok(Client::connect(&endpoint, global.timeout)?.asking_again_for(global.retry_for))
}

/// An argument goes before the environment, and that before this host's own agent.
fn endpoint(global: &Global, environment: &Environment) -> Result<Endpoint, Failed> {
    match (&global.endpoint, &global.host) {
        (Some(endpoint), _) => return Ok(endpoint.clone()),
        (None, Some(host)) => return look_up(host, environment),
        (None, None) => {}
    }
    let usage = |name: &str, why: String| Failed::Usage(format!("{name}: {why}"));
    match (&environment.endpoint, &environment.host) {
        // Whichever won, somebody would change a host that they did not mean.
        (Some(endpoint), Some(host)) => Err(Failed::Usage(format!(
            "PWCTL_ENDPOINT is {endpoint} and PWCTL_HOST is {host}: unset one of them, or give --endpoint or --host"
        ))),
        (Some(endpoint), None) => endpoint.parse().map_err(|why| usage("PWCTL_ENDPOINT", format!("{why}"))),
        (None, Some(host)) => {
            let host = host.parse().map_err(|why| usage("PWCTL_HOST", format!("{why}")))?;
            look_up(&host, environment)
        }
        (None, None) => Ok(Endpoint::default()),
    }
}

fn look_up(host: &Name, environment: &Environment) -> Result<Endpoint, Failed> {
    let files = environment.files();
    let Some(file) = files.iter().find(|file| environment.config.is_some() || file.exists()) else {
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        return Err(Failed::Usage(format!(
            "host {host} is not known: there is no {}; write `hosts: {{ {host}: {{ endpoint: … }} }}` there, or give \
             --endpoint",
            files.join(" and no ")
        )));
    };
    let hosts = inventory::read(file).map_err(|why| Failed::Usage(why.to_string()))?;
    hosts.get(host).cloned().ok_or_else(|| Failed::Usage(unknown(host, file, &hosts)))
}

/// What may have been meant where this host's own agent was asked, for want of another name, and did not answer.
pub(crate) fn elsewhere(asked: &Endpoint) -> String {
    let environment = Environment::read();
    let file = environment.files().into_iter().find(|file| file.exists());
    match file.and_then(|file| inventory::read(&file).ok()) {
        Some(hosts) if *asked == Endpoint::default() => known(&hosts),
        Some(_) | None => String::new(),
    }
}

fn known(hosts: &BTreeMap<Name, Endpoint>) -> String {
    let names: Vec<&str> = hosts.keys().map(Name::as_str).collect();
    match names[..] {
        [] => String::new(),
        _ => format!(
            "\nask the agent of another host with --host or PWCTL_HOST; your configuration has {}",
            names.join(", ")
        ),
    }
}

fn unknown(host: &Name, file: &Path, hosts: &BTreeMap<Name, Endpoint>) -> String {
    let known: Vec<&str> = hosts.keys().map(Name::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("host {host} is not in {}; hosts there: {known}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;

    fn global(arguments: &[&str]) -> Global {
        let line = ["pwctl"].iter().chain(arguments).chain(&["list"]);
        Cli::try_parse_from(line).unwrap().global
    }

    fn environment(pairs: &[(&str, &str)], config: &Path) -> Environment {
        let value =
            |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Environment {
            host: value("host"),
            endpoint: value("endpoint"),
            config: Some(config.to_owned()),
            home: None,
            system: PathBuf::from("/nowhere"),
        }
    }

    #[test]
    fn hosts_that_could_have_been_meant_are_named() {
        let hosts = ["a", "b"].map(|name| (name.parse().unwrap(), Endpoint::default()));

        assert!(known(&hosts.into()).ends_with("your configuration has a, b"));
        assert_eq!(known(&BTreeMap::new()), "");
    }

    #[test]
    fn an_argument_goes_before_the_environment_and_that_before_the_local_agent() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("pwctl.yaml");
        std::fs::write(
            &config,
            "hosts: { a: { endpoint: \"unix:/run/a.sock\" }, b: { endpoint: \"unix:/run/b.sock\" } }",
        )
        .unwrap();
        type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
        let cases: [Case; 6] = [
            (
                &["--endpoint", "unix:/run/x.sock"],
                &[("host", "a"), ("endpoint", "unix:/run/y.sock")],
                "unix:/run/x.sock",
            ),
            (&["--host", "b"], &[("host", "a")], "unix:/run/b.sock"),
            (&["--host", "b"], &[("endpoint", "unix:/run/y.sock")], "unix:/run/b.sock"),
            (&[], &[("endpoint", "unix:/run/y.sock")], "unix:/run/y.sock"),
            (&[], &[("host", "a")], "unix:/run/a.sock"),
            (&[], &[], "unix:/run/pipewright/agent.sock"),
        ];
        for (arguments, pairs, expected) in cases {
            let chosen = endpoint(&global(arguments), &environment(pairs, &config)).unwrap();

            assert_eq!(chosen.to_string(), expected, "{arguments:?} {pairs:?}");
        }
    }

    #[test]
    fn a_host_that_cannot_be_found_says_where_it_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("pwctl.yaml");
        let said = |pairs: &[(&str, &str)]| {
            let error = endpoint(&global(&["--host", "c"]), &environment(pairs, &config)).unwrap_err();
            assert!(matches!(error, Failed::Usage(_)), "{error:?}");
            error.to_string()
        };
        let shown = config.display();

        assert_eq!(said(&[]), format!("cannot read {shown}: No such file or directory (os error 2)"));

        std::fs::write(&config, "hosts: { a: { endpoint: \"unix:/run/a.sock\" } }").unwrap();
        assert_eq!(said(&[]), format!("host c is not in {shown}; hosts there: a"));

        std::fs::write(&config, "hosts: { a: { endpoint: \"nowhere\" } }").unwrap();
        assert_eq!(
            said(&[]),
            format!(
                "{shown}:1:25: hosts.a.endpoint: \"nowhere\" is not an endpoint: use unix:PATH or http://HOST:PORT"
            )
        );
    }

    #[test]
    fn without_a_configuration_the_places_for_one_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let home = Some(folder.path().to_owned());
        let environment = Environment { config: None, home, ..environment(&[], Path::new("")) };

        let error = endpoint(&global(&["--host", "c"]), &environment).unwrap_err();

        let own = folder.path().join("pipewright/pwctl.yaml");
        let expected = format!(
            "host c is not known: there is no {} and no /nowhere/pipewright/pwctl.yaml; write `hosts: {{ c: {{ endpoint: … }} \
             }}` there, or give --endpoint",
            own.display()
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_host_and_an_endpoint_in_the_environment_are_one_too_many() {
        let pairs = [("host", "a"), ("endpoint", "unix:/run/y.sock")];

        let error = endpoint(&global(&[]), &environment(&pairs, Path::new("/nowhere"))).unwrap_err();

        assert!(
            error.to_string().starts_with("PWCTL_ENDPOINT is unix:/run/y.sock and PWCTL_HOST is a:"),
            "{error}"
        );
    }
}
