use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn insert(
    scope: &'static str,
    spent: i64,
) -> impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()> {
    move |transaction| {
        transaction
            .prepare_cached("INSERT INTO totals (scope, spent) VALUES (?1, ?2)")?
            .execute((scope, spent))
            .map(drop)
    }
}

fn scopes(store: &Store) -> Vec<String> {
    store
        .read(|connection| {
            connection
                .prepare("SELECT scope FROM totals ORDER BY scope")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
        .unwrap()
}

#[tokio::test]
async fn what_is_written_is_read_by_this_and_by_the_next_handle() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("a/b");
    let store = Store::open(&state).unwrap();
    store
        .write(Durability::Full, insert("one", 1))
        .await
        .unwrap();
    store.write_detached(Durability::Normal, insert("two", 2));
    let other = Store::open(&state).unwrap();
    assert!(scopes(&other).contains(&"one".to_owned()));
    store.close().await.unwrap();
    assert_eq!(scopes(&other), ["one", "two"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for name in ["orch.db", "orch.db-wal", "orch.db-shm"] {
        assert_eq!(mode(&state.join(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn the_last_handle_waits_for_what_nobody_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    for _ in 0..100 {
        store.write_detached(Durability::Normal, |transaction| {
            transaction
                .execute("INSERT INTO totals VALUES ('x', 1, 0) ON CONFLICT DO UPDATE SET spent = spent + 1", [])
                .map(drop)
        });
    }
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    let spent: i64 = store
        .read(|connection| connection.query_row("SELECT spent FROM totals", [], |row| row.get(0)))
        .unwrap();
    assert_eq!(spent, 100);
}

#[tokio::test]
async fn a_failing_job_undoes_itself_and_leaves_the_others_of_its_transaction() {
    for store in [
        Store::in_memory().unwrap(),
        Store::open(tempfile::tempdir().unwrap().path()).unwrap(),
        Store::open_direct(tempfile::tempdir().unwrap().path()).unwrap(),
    ] {
        let first = store.write(Durability::Full, insert("a", 1));
        let second = store.write(Durability::Full, |transaction| {
            insert("b", 1)(transaction)?;
            insert("a", 1)(transaction)
        });
        let third = store.write(Durability::Normal, insert("c", 1));
        let (first, second, third) = (first.await, second.await, third.await);
        assert_eq!(first, Ok(()));
        assert_eq!(second.unwrap_err().kind, StoreErrorKind::Statement);
        assert_eq!(third, Ok(()));
        assert_eq!(scopes(&store), ["a", "c"]);
        store.write_detached(Durability::Normal, insert("a", 1));
        assert!(store.close().await.is_err());
    }
}

#[tokio::test]
async fn jobs_that_queue_up_share_one_commit() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let (release, blocked) = mpsc::channel::<()>();
    let blocker = store.write(Durability::Normal, move |_| {
        blocked.recv().unwrap();
        Ok(())
    });
    for scope in ["a", "b", "c"] {
        store.write_detached(Durability::Full, insert(scope, 1));
    }
    let path = directory.path().join(FILE_NAME);
    let last = store.write(Durability::Normal, move |transaction| {
        let count = "SELECT count(*) FROM totals";
        let inside: i64 = transaction.query_row(count, [], |row| row.get(0))?;
        let outside: i64 = Connection::open(path)?.query_row(count, [], |row| row.get(0))?;
        Ok((inside, outside))
    });
    release.send(()).unwrap();
    blocker.await.unwrap();
    assert_eq!(last.await.unwrap(), (3, 0));
}

/// A store whose thread is at a write that does not end until the sender is gone.
fn stuck(directory: &Path) -> (Store, mpsc::Sender<()>) {
    let store = Store::open(directory).unwrap();
    let (release, blocked) = mpsc::channel::<()>();
    store.write_detached(Durability::Normal, move |_| {
        let _is_sent = blocked.recv().is_ok();
        Ok(())
    });
    (store, release)
}

#[tokio::test]
async fn what_is_told_ahead_is_told_of_the_disk_too() {
    let directory = tempfile::tempdir().unwrap();
    let ahead = |store: &Store, scope| {
        let (sender, receiver) = oneshot::channel();
        let tell = move |result| drop(sender.send(result));
        (receiver, store.submit_ahead(insert(scope, 1), tell))
    };
    for store in [
        Store::open(directory.path()).unwrap(),
        Store::open_direct(directory.path()).unwrap(),
        Store::in_memory().unwrap(),
    ] {
        store.write_detached(Durability::Normal, insert("other", 1));
        let (committed, synced) = ahead(&store, "new");
        assert_eq!(committed.await.unwrap(), Ok(()));
        assert_eq!(synced.wait().await, Ok(()));
        assert!(!synced.is_pending());
        // One that cannot be done.
        let (committed, synced) = ahead(&store, "new");
        let refused = committed.await.unwrap().unwrap_err();
        assert_eq!(refused.kind, StoreErrorKind::Statement);
        assert_eq!(synced.wait().await, Ok(()), "nothing is to be on the disk");
        store
            .write(Durability::Full, |transaction| {
                transaction.execute("DELETE FROM totals", []).map(drop)
            })
            .await
            .unwrap();
    }
    // A file that no other process will find again.
    let store = Store::open(directory.path()).unwrap();
    let (_, synced) = ahead(&store, "kept");
    assert_eq!(synced.wait().await, Ok(()));
    fs::remove_file(directory.path().join("orch.db-wal")).unwrap();
    let (committed, synced) = ahead(&store, "lost");
    assert_eq!(committed.await.unwrap(), Ok(()));
    let error = synced.wait().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Gone);
    assert!(synced.is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_does_not_answer_is_waited_for_a_minute_and_then_a_second_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let (store, release) = stuck(directory.path());
    let words = format!(
        "the store `{}` does not answer: what was written last may not be on the disk",
        directory.path().join(FILE_NAME).display()
    );
    let began = tokio::time::Instant::now();
    for scope in ["a", "b"] {
        let ended = store.write(Durability::Full, insert(scope, 1)).await;
        assert_eq!(ended.unwrap_err().to_string(), words);
    }
    assert_eq!(began.elapsed().as_secs(), 60 + 1);
    // What was left in the queue is done when it answers, and who comes then is told at once.
    tokio::time::resume();
    drop(release);
    store.write(Durability::Full, |_| Ok(())).await.unwrap();
    assert_eq!(scopes(&store), ["a", "b"]);
    store.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_program_does_not_wait_for_a_disk_that_does_not_answer() {
    let directory = tempfile::tempdir().unwrap();
    let (store, release) = stuck(directory.path());
    let other = store.clone();
    let error = store.close().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Stuck);
    drop(other);
    drop(release);
}

#[tokio::test]
async fn many_handles_on_one_file_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let state = directory.path().join("state");
            std::thread::spawn(move || {
                let store = Store::open(&state).unwrap();
                for _ in 0..25 {
                    store.write_detached(Durability::Full, |transaction| {
                        transaction
                            .execute("INSERT INTO totals VALUES ('x', 1, 0) ON CONFLICT DO UPDATE SET spent = spent + 1", [])
                            .map(drop)
                    });
                }
                let lost = Arc::clone(&store.inner.lost);
                drop(store);
                assert_eq!(*lock(&lost), None);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let store = Store::open(&directory.path().join("state")).unwrap();
    let spent: i64 = store
        .read(|connection| connection.query_row("SELECT spent FROM totals", [], |row| row.get(0)))
        .unwrap();
    assert_eq!(spent, 200);
}

fn snapshot(directory: &Path) -> Vec<(String, Vec<u8>, std::time::SystemTime)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let modified = entry.metadata().unwrap().modified().unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap(), modified)
        })
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn reading_only_changes_no_byte_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state with % and ?");
    assert!(Store::open_read_only(&state).unwrap().is_none());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

    let store = Store::open(&state).unwrap();
    store
        .write(Durability::Normal, insert("one", 1))
        .await
        .unwrap();
    let beside_a_writer = Store::open_read_only(&state).unwrap().unwrap();
    assert_eq!(scopes(&beside_a_writer), ["one"]);
    drop(store);

    let before = snapshot(&state);
    assert_eq!(before.len(), 3);
    let alone = Store::open_read_only(&state).unwrap().unwrap();
    assert_eq!(scopes(&alone), ["one"]);
    let refused = alone.write(Durability::Full, insert("two", 1)).await;
    assert_eq!(refused.unwrap_err().kind, StoreErrorKind::NotWritable);
    drop((alone, beside_a_writer));
    assert_eq!(snapshot(&state), before);

    // As after another program closed the database last: everything moved, the log gone.
    let path = state.join(FILE_NAME);
    let other = Connection::open(&path).unwrap();
    other
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(other);
    let before = snapshot(&state);
    assert_eq!(before.len(), 1);
    assert_eq!(
        scopes(&Store::open_read_only(&state).unwrap().unwrap()),
        ["one"]
    );
    assert_eq!(snapshot(&state), before);
}

/// As a process leaves it that dies in the moment in which it opens the database.
#[tokio::test]
async fn a_log_whose_index_was_left_unfinished_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("alive")).unwrap();
    let written = store.write(Durability::Normal, insert("one", 1)).await;
    written.unwrap();
    let alive = directory.path().join("alive");
    // Nothing of it is made yet; nobody has marked where to read; the log is begun anew.
    let unfinished = [
        (0..120, 0, "-shm"),
        (104..120, 0xff, "-shm"),
        (32..40, 7, "-shm"),
    ];
    for (number, (bytes, filler, file)) in unfinished.into_iter().enumerate() {
        let dead = directory.path().join(number.to_string());
        fs::create_dir(&dead).unwrap();
        for (name, mut content, _) in snapshot(&alive) {
            if name.ends_with(file) {
                content[bytes.clone()].fill(filler);
                // Both copies of the header are the same.
                content.copy_within(0..48, 48);
            }
            fs::write(dead.join(name), content).unwrap();
        }
        let read = Store::open_read_only(&dead).unwrap().unwrap();
        assert_eq!(scopes(&read), ["one"]);
    }
}

/// The size of the log, and what is mixed into the sums of its frames: other than before once it starts anew.
fn log_of(state: &Path) -> (usize, Vec<u8>) {
    let log = fs::read(state.join("orch.db-wal")).unwrap();
    (log.len(), log[16..24].to_vec())
}

#[tokio::test]
async fn the_log_of_short_commands_starts_anew_and_keeps_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let (mut sizes, mut salts) = (Vec::new(), Vec::new());
    for number in 0..100_i64 {
        let store = Store::open_direct(&state).unwrap();
        let written = store.write(Durability::Full, move |transaction| {
            let scope = format!("{number:03}{}", "x".repeat(20_000));
            transaction.execute("INSERT INTO totals (scope) VALUES (?1)", [scope])
        });
        written.await.unwrap();
        drop(store.close().await.unwrap());
        let (size, salt) = log_of(&state);
        sizes.push(size);
        salts.push(salt);
        let reader = Store::open_read_only(&state).unwrap().unwrap();
        let count: i64 = reader
            .read(|read| read.query_row("SELECT count(*) FROM totals", [], |row| row.get(0)))
            .unwrap();
        assert_eq!(count, number + 1);
    }
    salts.dedup();
    assert!(salts.len() > 10, "started anew {} times", salts.len());
    assert!(sizes.is_sorted(), "it was cut: {sizes:?}");
    assert!(sizes[99] < 288 << 10, "{} bytes", sizes[99]);
    // Another program still finds whose it is.
    let other = Connection::open(state.join(FILE_NAME)).unwrap();
    assert!(migrations::accept(&other).is_ok_and(|version| version > 0));
    let whole: String = other
        .pragma_query_value(None, "integrity_check", |row| row.get(0))
        .unwrap();
    assert_eq!(whole, "ok");
}

#[tokio::test]
async fn the_log_of_a_busy_process_is_cut_by_the_last_to_close() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let other = Store::open_direct(directory.path()).unwrap();
    other.write(Durability::Full, insert("a", 1)).await.unwrap();
    let large = store.write(Durability::Full, |transaction| {
        let scope = "x".repeat(4 << 20);
        transaction.execute("INSERT INTO totals (scope) VALUES (?1)", [scope])
    });
    large.await.unwrap();
    // Somebody who reads what is in the log keeps it.
    let looking = Connection::open(directory.path().join(FILE_NAME)).unwrap();
    looking
        .execute_batch("BEGIN; SELECT * FROM totals")
        .unwrap();
    drop(store.close().await.unwrap());
    assert!(log_of(directory.path()).0 > 4 << 20);
    looking.execute_batch("COMMIT").unwrap();
    other.write(Durability::Full, insert("b", 1)).await.unwrap();
    drop(other.close().await.unwrap());
    assert!(log_of(directory.path()).0 <= 288 << 10);
    assert_eq!(scopes(&Store::open(directory.path()).unwrap()).len(), 3);
}

fn kind_of_opening(state: &Path) -> StoreErrorKind {
    let error = Store::open(state).unwrap_err();
    assert_eq!(error.path, Some(state.join(FILE_NAME)));
    assert!(!error.hint().is_empty());
    error.kind
}

#[test]
fn what_cannot_be_used_is_told_by_its_kind() {
    let directory = tempfile::tempdir().unwrap();
    let state = |name: &str| {
        let state = directory.path().join(name);
        fs::create_dir_all(&state).unwrap();
        state
    };
    let text = state("text");
    fs::write(text.join(FILE_NAME), "x".repeat(5000)).unwrap();
    assert_eq!(kind_of_opening(&text), StoreErrorKind::Foreign);

    let foreign = state("foreign");
    let other = Connection::open(foreign.join(FILE_NAME)).unwrap();
    other.execute_batch("CREATE TABLE notes (x)").unwrap();
    assert_eq!(kind_of_opening(&foreign), StoreErrorKind::Foreign);

    let newer = state("newer");
    drop(Store::open(&newer).unwrap());
    let other = Connection::open(newer.join(FILE_NAME)).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    assert_eq!(kind_of_opening(&newer), StoreErrorKind::NewerSchema);
    let error = Store::open_read_only(&newer).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NewerSchema);

    // No version is below the first; and a file without one has no tables yet.
    for version in [0, -3] {
        let odd = state(&format!("version{version}"));
        drop(Store::open(&odd).unwrap());
        let other = Connection::open(odd.join(FILE_NAME)).unwrap();
        other.pragma_update(None, "user_version", version).unwrap();
        assert_eq!(kind_of_opening(&odd), StoreErrorKind::Corrupt);
        let error = Store::open_read_only(&odd).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Corrupt);
    }

    let dangling = state("dangling");
    std::os::unix::fs::symlink("/nonexistent/orch.db", dangling.join(FILE_NAME)).unwrap();
    assert_eq!(kind_of_opening(&dangling), StoreErrorKind::NotWritable);
    let error = Store::open_read_only(&dangling).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotWritable);

    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(kind_of_opening(&file), StoreErrorKind::NotWritable);

    // A file system that makes no files.
    let nowhere = Path::new("/proc/self/orch");
    assert_eq!(kind_of_opening(nowhere), StoreErrorKind::NotWritable);

    let folder = state("folder");
    fs::create_dir(folder.join(FILE_NAME)).unwrap();
    assert_eq!(kind_of_opening(&folder), StoreErrorKind::NotWritable);
}

#[tokio::test]
async fn a_lock_that_stays_is_an_error_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open_patiently(directory.path(), 3).unwrap();
    let other = Connection::open(directory.path().join(FILE_NAME)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = [
        store.write(Durability::Full, insert("a", 1)),
        store.write(Durability::Normal, insert("b", 1)),
    ];
    for job in waiting {
        let error = job.await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Busy);
        assert_eq!(
            error.to_string(),
            format!(
                "the store `{}` is locked by other processes: database is locked",
                directory.path().join(FILE_NAME).display()
            )
        );
    }
    other.execute_batch("COMMIT").unwrap();
    // The lock is gone, but a store that gives up after three tries may meet another short one.
    let mut written = store.write(Durability::Full, insert("c", 1)).await;
    for _ in 0..1_000 {
        match &written {
            Err(error) if error.kind == StoreErrorKind::Busy => {}
            _ => break,
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        written = store.write(Durability::Full, insert("c", 1)).await;
    }
    written.unwrap();
    assert_eq!(scopes(&store), ["c"]);
    drop(store);
    // Somebody who has it for himself keeps it from being opened, too.
    other
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
        .unwrap();
    let error = Store::open_patiently(directory.path(), 3).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Busy);
}

#[tokio::test]
async fn a_full_disk_is_told_and_takes_nothing_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    store.write(Durability::Full, insert("a", 1)).await.unwrap();
    // The same error as that of a disk without space: the file may not grow.
    let full = store.write(Durability::Normal, |transaction| {
        let pages: i64 = transaction.pragma_query_value(None, "page_count", |row| row.get(0))?;
        transaction.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    });
    full.await.unwrap();
    let large = store.write(Durability::Full, |transaction| {
        let large = "x".repeat(100_000);
        transaction.execute("INSERT INTO totals (scope) VALUES (?1)", [large])
    });
    let small = store.write(Durability::Full, insert("b", 1));
    assert_eq!(large.await.unwrap_err().kind, StoreErrorKind::DiskFull);
    // It shared the transaction or had one of its own: it is told either way what became of it.
    let kept = match small.await {
        Ok(()) => vec!["a", "b"],
        Err(error) => {
            assert_eq!(error.kind, StoreErrorKind::Io);
            vec!["a"]
        }
    };
    assert_eq!(scopes(&store), kept);
}

/// What others commit between two statements of a query belongs to neither: a report would not add up.
#[tokio::test]
async fn a_query_reads_one_state_of_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    store.write(Durability::Full, insert("a", 1)).await.unwrap();
    let path = directory.path().join(FILE_NAME);
    let count = |connection: &Connection| -> rusqlite::Result<i64> {
        connection.query_row("SELECT count(*) FROM totals", [], |row| row.get(0))
    };
    let seen = store.read(move |connection| {
        let before = count(connection)?;
        let other = Connection::open(&path)?;
        other.execute("INSERT INTO totals (scope) VALUES ('b')", [])?;
        Ok((before, count(connection)?))
    });
    assert_eq!(seen, Ok((1, 1)));
    assert_eq!(store.read(count), Ok(2));
    // One that fails leaves nothing open.
    store
        .read(|connection| connection.query_row("SELECT 1 WHERE 0", [], |_| Ok(())))
        .unwrap_err();
    store.write(Durability::Full, insert("c", 1)).await.unwrap();
    assert_eq!(store.read(count), Ok(3));
}
