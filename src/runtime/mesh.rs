//! N x N lanes between cores (signatures first).
use crate::base::staged::{Batch, Staged};
/// The ends of one core; not Clone.
pub struct MeshEnd<P> {}
/// Makes the ends of all cores.
pub fn mesh<P: Send>(cores: usize) -> Vec<MeshEnd<P>>;
/// Whether everything went.
pub struct Flushed { pub moved: Batch, pub all: bool }
/// What a drain took.
pub struct Drained { pub records: usize, pub bytes: usize, pub more: bool }
impl<P> MeshEnd<P> {
    pub fn core(&self) -> usize;
    pub fn cores(&self) -> usize;
    /// Moves whole records from the front of `staged` into the lane to `target` as far as they fit.
    pub fn flush(&mut self, target: usize, staged: &mut Staged<P>) -> Flushed;
    /// Takes what came, round-robin over the sources, up to `budget_bytes` (at least one record):
    /// `on(source, record, parcel)`.
    pub fn drain(&mut self, budget_bytes: usize, on: &mut dyn FnMut(usize, &[u8], Option<P>)) -> Drained;
    pub fn drain_from(&mut self, source: usize, budget_bytes: usize, on: &mut dyn FnMut(&[u8], Option<P>)) -> Drained;
    pub fn inbox_is_empty(&self) -> bool;
}
