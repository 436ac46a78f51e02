//! Parking (signatures first).
/// The core as the executor's task drives it (implemented by runtime/core.rs).
pub trait CoreLoop {
    /// One turn: passes `wait` to the plane's turn as it is.
    fn turn(&mut self, wait: Wait<'_>) -> io::Result<Next>;
    /// Whether anything waits in an inbox (mesh, gate commands, index epoch): looked at once between
    /// "I am about to sleep" and the sleep.
    fn has_inbox_work(&self) -> bool;
}
/// What the core wants after a turn.
pub enum Next { Again, Idle { at_most: Duration }, Stop }
