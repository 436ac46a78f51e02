//! Wakes (signatures first).
/// Shared by all threads (`Arc<Wakers>`): the asleep flags, the rings and the eventfds of all cores.
pub struct Wakers {}
impl Wakers {
    pub fn new(cores: usize) -> std::io::Result<std::sync::Arc<Wakers>>;
    /// On the core's thread, once: publishes its ring and watches its eventfd.
    pub fn join(self: &Arc<Self>, core: usize, plane: &mut Actions);
    pub fn flag(&self, core: usize) -> &WakeFlag;
    /// After a push, by another core: MSG_RING in the pusher's own ring, only if the target sleeps.
    pub fn wake_from_core(&self, plane: &mut Actions, target: usize);
    /// After a push, by any other thread: eventfd, only if the target sleeps.
    pub fn wake_from_outside(&self, target: usize);
}
