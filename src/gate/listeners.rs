//! Listeners as the control plane sees and commands them.

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerState {
    /// Kind and name, `tcp:default`.
    pub id: String,
    /// `tcp`, `ssl`, `ws`, `wss` or `unix`.
    pub kind: &'static str,
    /// Address with the port that was bound, or file.
    pub bind: String,
    /// Whether it accepts.
    pub running: bool,
    /// Connections that came in by it and are open, those in handshake included.
    pub current_connections: u32,
    /// The most that it holds; none for no limit.
    pub max_connections: Option<u32>,
    /// Whether a PROXY header is awaited.
    pub proxy_protocol: bool,
}

/// What can be done with listeners at run time. Each call but [`Self::states`] waits for the cores,
/// for at most some seconds: not to be made where that holds anything up.
pub trait ListenerControl: Send + Sync {
    /// All of them, in the order of the configuration, those that are stopped included.
    fn states(&self) -> Vec<ListenerState>;

    /// Accepts no more; connected clients stay. One that is stopped stays so.
    ///
    /// # Errors
    /// A sentence: there is no such listener, or a core does not answer.
    fn stop(&self, id: &str) -> Result<(), String>;

    /// Accepts again, at the same address. One that runs goes on.
    ///
    /// # Errors
    /// A sentence: there is no such listener, or the address cannot be bound.
    fn start(&self, id: &str) -> Result<(), String>;

    /// Both.
    ///
    /// # Errors
    /// As those.
    fn restart(&self, id: &str) -> Result<(), String> {
        self.stop(id)?;
        self.start(id)
    }
}
