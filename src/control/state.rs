//! What the control plane keeps over restarts: `control.redb` in the data directory.
//!
//! A [`Collection`] is a table of named records: all of it lies in memory, where it is read, and each
//! change is committed to the file before it counts. The collections are small: their limits are
//! constants here. The file is made with the first record, so a broker that has nothing to keep has no
//! file.

mod records;

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::control::trace::record::TraceRecord;

pub use records::{Alarm, ApiKey, Ban, BanKind, Role, User};

/// Bytes of the store's page cache: the collections lie in memory anyway.
const CACHE_BYTES: usize = 1 << 20;
/// Users of the HTTP API.
const USERS_MAX: usize = 1_000;
/// API keys.
const API_KEYS_MAX: usize = 1_000;
/// Bans: about 30 MB in memory.
const BANS_MAX: usize = 100_000;
/// Alarms that were deactivated and are remembered.
pub const ALARM_HISTORY_MAX: usize = 1_000;

/// Traces: `trace.max_traces` says less.
const TRACES_MAX: usize = 1_000;
/// Topics whose messages are counted: EMQX's number.
pub const TOPIC_METRICS_MAX: usize = 512;
/// Settings that were changed at run time.
const LENSES_MAX: usize = 16;

/// Why something was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateError {
    /// There are as many records as allowed.
    Full(usize),
    /// The file cannot be used; what the store said.
    Store(String),
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full(max) => write!(f, "there are {max} entries already, which is the limit"),
            Self::Store(what) => write!(f, "control.redb cannot be used: {what}"),
        }
    }
}

fn store(error: &dyn std::fmt::Display) -> StateError {
    StateError::Store(error.to_string())
}

/// Everything that is kept.
pub struct State {
    /// Users, by name.
    pub users: Collection<User>,
    /// API keys, by name.
    pub api_keys: Collection<ApiKey>,
    /// Bans, by kind and who.
    pub bans: Collection<Ban>,
    /// Alarms that are active, by name.
    pub alarms: Collection<Alarm>,
    /// Alarms that are over, by the time of their end and name.
    pub alarm_history: Collection<Alarm>,
    /// Traces, by name.
    pub traces: Collection<TraceRecord>,
    /// Topics whose messages are counted, by name: when they were chosen, UNIX time in seconds.
    pub topic_metrics: Collection<u64>,
    /// Settings that were changed at run time and have no place in the configuration, by name.
    pub lenses: Collection<serde_json::Value>,
}

impl State {
    /// Reads `control.redb` of a data directory, if it is there.
    ///
    /// # Errors
    /// It cannot be read, or holds what this version does not know.
    pub fn open(data_dir: &Path) -> Result<Self, StateError> {
        let file = Arc::new(File::open(data_dir.join("control.redb"))?);
        let keep = |name, max| (Arc::clone(&file), name, max);
        Ok(Self {
            users: Collection::load(keep("users", USERS_MAX))?,
            api_keys: Collection::load(keep("api_keys", API_KEYS_MAX))?,
            bans: Collection::load(keep("banned", BANS_MAX))?,
            alarms: Collection::load(keep("alarms", ALARM_HISTORY_MAX))?,
            alarm_history: Collection::load(keep("alarm_history", ALARM_HISTORY_MAX + 1))?,
            traces: Collection::load(keep("traces", TRACES_MAX))?,
            topic_metrics: Collection::load(keep("topic_metrics", TOPIC_METRICS_MAX))?,
            lenses: Collection::load(keep("lenses", LENSES_MAX))?,
        })
    }
}

/// The store's file, opened when it is there or first needed.
struct File {
    path: PathBuf,
    database: Mutex<Option<Database>>,
}

impl File {
    fn open(path: PathBuf) -> Result<Self, StateError> {
        let database = path.exists().then(|| create(&path)).transpose()?;
        Ok(Self {
            path,
            database: Mutex::new(database),
        })
    }

    /// The open file, or none.
    fn database(&self) -> MutexGuard<'_, Option<Database>> {
        // A panic between two statements of a caller leaves the database as it is on disk.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn create(path: &Path) -> Result<Database, StateError> {
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(path)
        .map_err(|error| store(&error))?;
    let own = Permissions::from_mode(0o600);
    std::fs::set_permissions(path, own).map_err(|error| store(&error))?;
    Ok(database)
}

/// Named records of one kind.
pub struct Collection<T> {
    file: Arc<File>,
    table: TableDefinition<'static, &'static str, &'static [u8]>,
    rows: RwLock<BTreeMap<String, T>>,
    rows_max: usize,
}

impl<T: Clone + Serialize + DeserializeOwned> Collection<T> {
    fn load((file, name, rows_max): (Arc<File>, &'static str, usize)) -> Result<Self, StateError> {
        let table = TableDefinition::new(name);
        let rows = match &*file.database() {
            Some(database) => read_all(database, table)?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            file,
            table,
            rows: RwLock::new(rows),
            rows_max,
        })
    }

    /// One record.
    pub fn get(&self, name: &str) -> Option<T> {
        self.read(|rows| rows.get(name).cloned())
    }

    /// All records with their names, in the order of the names.
    pub fn all(&self) -> Vec<(String, T)> {
        self.read(|rows| {
            rows.iter()
                .map(|(n, row)| (n.clone(), row.clone()))
                .collect()
        })
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.read(BTreeMap::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks at the records.
    pub fn read<R>(&self, look: impl FnOnce(&BTreeMap<String, T>) -> R) -> R {
        look(&self.rows.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps a record, in place of the one of that name. It waits for the disk.
    ///
    /// # Errors
    /// Nothing has changed.
    pub fn put(&self, name: &str, row: T) -> Result<(), StateError> {
        let is_new = |rows: &BTreeMap<String, T>| !rows.contains_key(name);
        if self.read(|rows| rows.len() >= self.rows_max && is_new(rows)) {
            return Err(StateError::Full(self.rows_max));
        }
        let bytes = serde_json::to_vec(&row).map_err(|error| store(&error))?;
        self.commit(|table| table.insert(name, bytes.as_slice()).map(drop))?;
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        rows.insert(name.to_owned(), row);
        Ok(())
    }

    /// Forgets a record; says whether there was one. It waits for the disk.
    ///
    /// # Errors
    /// Nothing has changed.
    pub fn remove(&self, name: &str) -> Result<Option<T>, StateError> {
        if self.read(|rows| !rows.contains_key(name)) {
            return Ok(None);
        }
        self.commit(|table| table.remove(name).map(drop))?;
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        Ok(rows.remove(name))
    }

    /// Forgets all records, at once; returns them. It waits for the disk.
    ///
    /// # Errors
    /// Nothing has changed.
    pub fn clear(&self) -> Result<Vec<T>, StateError> {
        if !self.is_empty() {
            self.commit(|table| table.retain(|_, _| false))?;
        }
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *rows).into_values().collect())
    }

    fn commit(
        &self,
        change: impl FnOnce(&mut redb::Table<'_, &'static str, &'static [u8]>) -> redb::Result<()>,
    ) -> Result<(), StateError> {
        // The disk may take its time: the runtime gives this thread's other tasks to another one.
        tokio::task::block_in_place(|| self.commit_now(change))
    }

    fn commit_now(
        &self,
        change: impl FnOnce(&mut redb::Table<'_, &'static str, &'static [u8]>) -> redb::Result<()>,
    ) -> Result<(), StateError> {
        let mut file = self.file.database();
        if file.is_none() {
            *file = Some(create(&self.file.path)?);
        }
        let Some(database) = &*file else {
            return Err(StateError::Store("it is not open".to_owned()));
        };
        let transaction = database.begin_write().map_err(|error| store(&error))?;
        {
            let table = transaction.open_table(self.table);
            let mut table = table.map_err(|error| store(&error))?;
            change(&mut table).map_err(|error| store(&error))?;
        }
        transaction.commit().map_err(|error| store(&error))
    }
}

fn read_all<T: DeserializeOwned>(
    database: &Database,
    table: TableDefinition<'static, &'static str, &'static [u8]>,
) -> Result<BTreeMap<String, T>, StateError> {
    let transaction = database.begin_read().map_err(|error| store(&error))?;
    let opened = match transaction.open_table(table) {
        Ok(opened) => opened,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
        Err(error) => return Err(store(&error)),
    };
    let mut rows = BTreeMap::new();
    for entry in opened.iter().map_err(|error| store(&error))? {
        let (name, bytes) = entry.map_err(|error| store(&error))?;
        let row = serde_json::from_slice(bytes.value()).map_err(|error| store(&error))?;
        rows.insert(name.value().to_owned(), row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_there_after_a_restart_and_the_file_comes_with_the_first_record() {
        let dir = std::env::temp_dir().join(format!("millrace-state-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let state = State::open(&dir).unwrap();
        assert!(state.users.is_empty() && !dir.join("control.redb").exists());
        let user = |role| User {
            password_hash: "h".to_owned(),
            role,
            description: String::new(),
            created_s: 1,
        };
        state.users.put("ann", user(Role::Viewer)).unwrap();
        state.users.put("bob", user(Role::Administrator)).unwrap();
        state.users.put("ann", user(Role::Publisher)).unwrap();
        assert!(state.users.remove("bob").unwrap().is_some());
        assert!(state.users.remove("bob").unwrap().is_none());
        state.api_keys.clear().unwrap();
        drop(state);
        let state = State::open(&dir).unwrap();
        let names: Vec<_> = state.users.all();
        assert_eq!(names.len(), 1);
        assert_eq!(state.users.get("ann").unwrap().role, Role::Publisher);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_full_collection_takes_changes_but_nothing_new() {
        let dir = std::env::temp_dir().join(format!("millrace-full-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let file = Arc::new(File::open(dir.join("control.redb")).unwrap());
        let few: Collection<u32> = Collection::load((file, "few", 1)).unwrap();
        few.put("a", 1).unwrap();
        assert_eq!(few.put("b", 1), Err(StateError::Full(1)));
        few.put("a", 2).unwrap();
        assert_eq!((few.get("a"), few.len()), (Some(2), 1));
        assert_eq!(few.clear(), Ok(vec![2]));
        few.put("b", 1).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
