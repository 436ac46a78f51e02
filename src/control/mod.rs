//! Layer 5: the control plane. One tokio runtime on threads of its own; it meets the cores in `gate/`
//! only and never makes one wait.

pub mod authn;

use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads of the runtime: what they do is rare or waits for others.
const WORKERS: usize = 2;
/// How long tasks may go on when the broker ends.
const END_WAIT: Duration = Duration::from_secs(2);

/// The control plane at work.
pub struct Control {
    runtime: Runtime,
}

impl Control {
    /// Starts the runtime's threads.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("control")
            .enable_all()
            .build()?;
        Ok(Self { runtime })
    }

    /// Where tasks of the control plane run.
    pub fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Ends the runtime; what is not done in two seconds is cut off.
    pub fn stop(self) {
        self.runtime.shutdown_timeout(END_WAIT);
    }
}
