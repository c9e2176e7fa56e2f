//! Ctrl-C: the first asks the demo to stop and clean up before its next step, the second ends it, and then the undertaker
//! cleans up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result, ensure};

/// How often Ctrl-C was pressed.
#[derive(Debug)]
pub(crate) struct Interrupts {
    count: Arc<AtomicU8>,
}

/// Ctrl-C was pressed.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl Interrupts {
    /// From now on.
    pub(crate) fn watch() -> Result<Self> {
        let count = Arc::new(AtomicU8::new(0));
        let counts = Arc::clone(&count);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("cannot watch for Ctrl-C")?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                while tokio::signal::ctrl_c().await.is_ok() {
                    if counts.fetch_add(1, Ordering::Relaxed) > 0 {
                        std::process::exit(130);
                    }
                    eprintln!("\ncleaning up; Ctrl-C again to leave that to the background");
                }
            });
        });
        Ok(Self { count })
    }

    /// Begins a part of the story, unless it was asked to stop.
    ///
    /// # Errors
    /// It was.
    pub(crate) fn heading(&self, text: &str) -> Result<()> {
        ensure!(!self.any(), Interrupted);
        println!("\n== {text}");
        Ok(())
    }

    /// Whether it was pressed.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// For a shell, in which Ctrl-C is the shell's.
    pub(crate) fn forget(&self) {
        self.count.store(0, Ordering::Relaxed);
    }
}
