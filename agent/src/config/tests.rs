//! Flags, file and defaults, joined.

use super::*;

fn resolve(args: &[&str]) -> Result<Config, ConfigError> {
    let line = ["pwagent"].iter().chain(args);
    Flags::try_parse_from(line).expect("the flags parse").resolve()
}

#[test]
fn without_flags_the_defaults_of_the_documentation_hold() {
    let config = resolve(&[]).unwrap();

    assert_eq!(config.listen, [Listen::Unix("/run/pipewright/agent.sock".into())]);
    assert_eq!(config.state_dir, Path::new("/var/lib/pipewright"));
    assert_eq!(config.guests.docker, Path::new("/var/run/docker.sock"));
    assert_eq!(config.guests.podman, Path::new("/run/podman/podman.sock"));
}

#[test]
fn tcp_without_tls_is_refused_unless_it_is_asked_for() {
    let refused = resolve(&["--listen", "tcp:127.0.0.1:7443"]);
    let taken = resolve(&["--listen", "tcp:127.0.0.1:7443", "--insecure"]);

    assert!(refused.unwrap_err().to_string().contains("--insecure"));
    assert_eq!(taken.unwrap().listen.len(), 1);
}

#[test]
fn metrics_are_for_this_host_alone_unless_an_address_is_given() {
    let at = |text: &str| resolve(&["--metrics", text]).unwrap().metrics.unwrap().to_string();

    assert_eq!(resolve(&[]).unwrap().metrics, None);
    assert_eq!((at("9473"), at(":9473")), ("127.0.0.1:9473".to_owned(), "127.0.0.1:9473".to_owned()));
    assert_eq!((at("0.0.0.0:1"), at("[::1]:1")), ("0.0.0.0:1".to_owned(), "[::1]:1".to_owned()));
    assert!("web:9473".parse::<MetricsAddress>().unwrap_err().contains("write 9473"));
}

#[test]
fn a_flag_wins_over_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "state_dir = \"/srv/a\"\ndocker = \"unix:/srv/d\"\n").unwrap();

    let config = resolve(&["--config", &file.path().to_string_lossy(), "--state-dir", "/srv/b"]).unwrap();

    assert_eq!((config.state_dir, config.guests.docker), ("/srv/b".into(), "/srv/d".into()));
}

#[test]
fn labels_are_off_unless_the_file_has_a_rule() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let is_on = |text: &str| {
        std::fs::write(&file, text).unwrap();
        resolve(&["--config", &file.path().to_string_lossy()]).map(|config| config.labels.is_on())
    };

    assert!(!resolve(&[]).unwrap().labels.is_on());
    assert!(!is_on("[labels]\npipework_cmd = true\n").unwrap());
    assert!(is_on("[[labels.allow]]\nuplink = \"br0\"\n").unwrap());
    let why = is_on("[[labels.allow]]\nuplink = \"br0\"\nhost_reach = true\n").unwrap_err();
    assert!(why.to_string().contains("host_reach"), "{why}");
}

#[test]
fn an_unknown_setting_is_an_error_that_names_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "stat_dir = \"/srv/a\"\n").unwrap();

    let error = resolve(&["--config", &file.path().to_string_lossy()]).unwrap_err();

    assert!(error.to_string().contains("stat_dir"));
}
