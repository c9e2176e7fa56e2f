//! Real DHCP servers on a network of the lab: dnsmasq and busybox's udhcpd.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::Inside;
use crate::process::{Process, command, output};

const READY: Duration = Duration::from_secs(10);

/// A server that serves 192.0.2.0/24 on `eth1` of a guest with the address 192.0.2.1. Killed when dropped.
#[derive(Debug)]
pub struct DhcpServer {
    process: Process,
    leases: PathBuf,
}

impl DhcpServer {
    /// dnsmasq with these further arguments, separated by blanks. It says of every message what it makes of it. Leases
    /// last at least 2 minutes, and are kept in `leases` in the folder.
    ///
    /// # Errors
    /// It does not start.
    pub fn dnsmasq(inside: &Inside, dir: &Path, range: &str, words: &str) -> Result<Self> {
        Self::dnsmasq_on("eth1", inside, dir, range, words)
    }

    /// dnsmasq on another link.
    ///
    /// # Errors
    /// It does not start.
    pub fn dnsmasq_on(link: &str, inside: &Inside, dir: &Path, range: &str, words: &str) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let leases = dir.join("leases");
        let mut dnsmasq = inside.command("dnsmasq")?;
        dnsmasq
            .args([
                "--keep-in-foreground",
                "--log-facility=-",
                "--log-dhcp",
                "--conf-file=/dev/null",
                "--port=0",
            ])
            .args(["--user=root", "--pid-file=", "--no-ping", "--bind-interfaces"])
            .arg(format!("--interface={link}"))
            .arg(format!("--dhcp-leasefile={}", leases.display()))
            .arg(format!("--dhcp-range={range}"))
            .args(words.split_whitespace());
        let process = Process::spawn("dnsmasq", &mut dnsmasq)?;
        process.wait_line(|line| line.contains("sockets bound exclusively"), READY)?;
        Ok(Self { process, leases })
    }

    /// busybox's udhcpd, whose leases may be short; `lines` are of its configuration.
    ///
    /// # Errors
    /// It does not start.
    pub fn udhcpd(inside: &Inside, dir: &Path, lines: &str) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let (config, leases) = (dir.join("udhcpd.conf"), dir.join("leases"));
        // It refuses to start without the file.
        std::fs::File::create(&leases)?;
        let text = format!(
            "interface eth1\nlease_file {}\npidfile {}\nauto_time 1\nmin_lease 4\n{lines}\n",
            leases.display(),
            dir.join("pid").display()
        );
        std::fs::write(&config, text)?;
        let process =
            Process::spawn("udhcpd", inside.command("busybox")?.args(["udhcpd", "-f"]).arg(&config))?;
        process.wait_line(|line| line.contains("started"), READY)?;
        Ok(Self { process, leases })
    }

    /// What the file of leases holds: text of dnsmasq.
    ///
    /// # Errors
    /// There is none.
    pub fn leases(&self) -> Result<String> {
        std::fs::read_to_string(&self.leases).with_context(|| format!("no {}", self.leases.display()))
    }

    /// What the file of leases of udhcpd holds.
    ///
    /// # Errors
    /// `dumpleases` fails.
    pub fn dumped_leases(&self) -> Result<String> {
        output(command("busybox")?.args(["dumpleases", "-a", "-f"]).arg(&self.leases))
    }

    /// Waits for a line of its log.
    ///
    /// # Errors
    /// It ends before, or the time runs out.
    pub fn wait_line(&self, part: &str, deadline: Duration) -> Result<String> {
        self.process.wait_line(|line| line.contains(part), deadline)
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
