use std::path::Path;

use rusqlite::Connection;

use super::report::{Filter, report};
use super::{BudgetSettings, check_store};
use crate::store::{FILE_NAME, Store, migrations};

/// Opens a database of every released version with rows in it, as an old program left it.
#[tokio::test]
async fn databases_of_every_released_version_open_with_what_they_hold() {
    for version in 1..=migrations::current_version() {
        let directory = tempfile::tempdir().unwrap();
        let old = Connection::open(directory.path().join(FILE_NAME)).unwrap();
        for part in ["", ".rows"] {
            let name = format!("tests/fixtures/store/schema-{version:03}{part}.sql");
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            let text = std::fs::read_to_string(&file).unwrap();
            old.execute_batch(&text).unwrap();
        }
        drop(old);
        let store = Store::open(directory.path()).unwrap();
        let now = std::time::UNIX_EPOCH + std::time::Duration::from_hours(498_753);
        let report = report(&store, &Filter::default(), &BudgetSettings::default(), now).unwrap();
        let report = serde_json::to_value(&report).unwrap();
        assert_eq!(report["total_requests"], 2);
        assert_eq!(report["total_cost_usd"], "0.003500");
        assert_eq!(report["held_usd"], "0.020000");
        assert_eq!(report["budgets"][1]["used_usd"], "0.003500");
        let check = check_store(directory.path(), false).await.unwrap();
        assert_eq!(check.schema, migrations::current_version());
        assert!(check.is_sound(), "{check:?}");
        let turns: i64 = store
            .read(|connection| {
                connection.query_row("SELECT count(*) FROM session_turns", [], |row| row.get(0))
            })
            .unwrap();
        assert_eq!(turns, 1);
    }
}
