//! Conversations that outlive a process, kept in whole turns.
//!
//! May use the vocabulary and `store`.

pub mod compaction;
mod export;

pub use export::{json, markdown};

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::message::Message;
use crate::store::{Durability, Job, Store, StoreError, Transaction};

/// A conversation of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id, a UUID.
    pub id: String,
    /// The agent.
    pub agent: String,
    /// The user's name for it.
    pub name: Option<String>,
    /// The conversation that it was forked from.
    pub parent: Option<String>,
    /// When something was last said, milliseconds since 1970.
    pub updated_ms: i64,
    /// How many turns it has; 0 for one that is not in the store yet.
    pub turns: i64,
}

impl Session {
    /// A conversation that begins; it enters the store with its first turn. One with a name has the same id
    /// whoever begins it, so that two who do so at once share its budget as well.
    pub fn begin(agent: &str, name: Option<&str>) -> Self {
        let id = name.map_or_else(uuid::Uuid::now_v7, |name| {
            let digest = Sha256::digest(format!("{agent}\0{name}"));
            let bytes = digest.first_chunk().copied().unwrap_or_default();
            uuid::Builder::from_custom_bytes(bytes).into_uuid()
        });
        Self {
            id: id.to_string(),
            agent: agent.to_owned(),
            name: name.map(str::to_owned),
            parent: None,
            updated_ms: now_ms(),
            turns: 0,
        }
    }
}

const COLUMNS: &str = "id, agent, name, parent, updated_ms, turns";

fn session(row: &rusqlite::Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: row.get(0)?,
        agent: row.get(1)?,
        name: row.get(2)?,
        parent: row.get(3)?,
        updated_ms: row.get(4)?,
        turns: row.get(5)?,
    })
}

/// The conversation of an agent with this name or id.
///
/// # Errors
/// When the store cannot be read.
pub fn find(store: &Store, agent: &str, name: &str) -> Result<Option<Session>, StoreError> {
    let (agent, name) = (agent.to_owned(), name.to_owned());
    store.read(move |connection| {
        let query =
            format!("SELECT {COLUMNS} FROM sessions WHERE agent = ?1 AND (name = ?2 OR id = ?2)");
        connection
            .query_row(&query, params![agent, name], session)
            .optional()
    })
}

/// The id of the conversation whose budget covers this one: a copy spends what the first of those that it was forked
/// from has left.
///
/// # Errors
/// When the store cannot be read.
pub fn charged(store: &Store, session: &Session) -> Result<String, StoreError> {
    let Some(parent) = session.parent.clone() else {
        return Ok(session.id.clone());
    };
    store.read(move |connection| {
        connection
            .prepare_cached(
                "WITH RECURSIVE up (id) AS (
                     SELECT ?1 UNION
                     SELECT parent FROM sessions JOIN up USING (id) WHERE parent IS NOT NULL)
                 SELECT id FROM up EXCEPT SELECT id FROM sessions WHERE parent IS NOT NULL",
            )?
            .query_row([&parent], |row| row.get(0))
    })
}

/// The conversation in which the agent last said something.
///
/// # Errors
/// When the store cannot be read.
pub fn last(store: &Store, agent: &str) -> Result<Option<Session>, StoreError> {
    Ok(list(store, agent, 1)?.pop())
}

/// The conversations of an agent, newest first.
///
/// # Errors
/// When the store cannot be read.
pub fn list(store: &Store, agent: &str, most: u32) -> Result<Vec<Session>, StoreError> {
    let agent = agent.to_owned();
    store.read(move |connection| {
        let query = format!(
            "SELECT {COLUMNS} FROM sessions WHERE agent = ?1 ORDER BY updated_ms DESC, id DESC LIMIT ?2"
        );
        connection.prepare(&query)?.query_map(params![agent, most], session)?.collect()
    })
}

/// What was said in a conversation in as many turns as it is known to have, oldest first; where older turns
/// have given way to a summary, the summary and what followed.
///
/// # Errors
/// When the store cannot be read, or a turn in it is damaged.
pub fn history(store: &Store, session: &Session) -> Result<Vec<Message>, StoreError> {
    let (id, turns) = (session.id.clone(), session.turns);
    store.read(move |connection| {
        let summed = connection
            .prepare_cached(
                "SELECT turn, messages FROM session_summaries
                 WHERE session = ?1 AND turn <= ?2 ORDER BY turn DESC LIMIT 1",
            )?
            .query_row(params![id, turns], |row| {
                Ok((row.get::<_, i64>(0)?, messages(row.get_ref(1)?)?))
            })
            .optional()?;
        let (from, mut history) = summed.unwrap_or_default();
        said_after(connection, (&id, from, turns), &mut history)?;
        Ok(history)
    })
}

/// All that was said in a conversation, oldest first.
///
/// # Errors
/// When the store cannot be read, or a turn in it is damaged.
pub fn transcript(store: &Store, session: &Session) -> Result<Vec<Message>, StoreError> {
    let (id, turns) = (session.id.clone(), session.turns);
    store.read(move |connection| {
        let mut transcript = Vec::new();
        said_after(connection, (&id, 0, turns), &mut transcript)?;
        Ok(transcript)
    })
}

fn said_after(
    connection: &Connection,
    (id, from, turns): (&str, i64, i64),
    said: &mut Vec<Message>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT messages FROM session_turns WHERE session = ?1 AND turn > ?2 AND turn <= ?3
         ORDER BY turn",
    )?;
    let mut rows = statement.query(params![id, from, turns])?;
    while let Some(row) = rows.next()? {
        said.extend(messages(row.get_ref(0)?)?);
    }
    Ok(())
}

fn messages(column: ValueRef<'_>) -> rusqlite::Result<Vec<Message>> {
    serde_json::from_str(column.as_str()?).map_err(|error| invalid_column(error.into()))
}

/// Keeps a summary that stands for all of a conversation but the last `kept` messages, as a part of a
/// transaction. A turn of which only a part was summed up stays whole.
pub fn summing_up(session: &Session, kept: usize, summary: &[Message]) -> Job {
    let (id, known) = (session.id.clone(), session.turns);
    let summary = serde_json::to_string(summary).unwrap_or_default();
    let mut left = i64::try_from(kept).unwrap_or(i64::MAX);
    Box::new(move |transaction| {
        let mut until = known;
        let mut lengths = transaction.prepare(
            "SELECT json_array_length(messages) FROM session_turns
             WHERE session = ?1 AND turn <= ?2 ORDER BY turn DESC",
        )?;
        let mut rows = lengths.query(params![id, known])?;
        while left > 0
            && let Some(row) = rows.next()?
        {
            left -= row.get::<_, i64>(0)?;
            until -= 1;
        }
        if until > 0 {
            transaction.execute(
                "INSERT OR REPLACE INTO session_summaries (session, turn, at_ms, messages)
                 VALUES (?1, ?2, ?3, ?4)",
                params![id, until, now_ms(), summary],
            )?;
        }
        Ok(())
    })
}

fn invalid_column(error: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error)
}

/// Appends a whole turn and gives the conversation as it then is; it enters the store with its first.
/// A turn that another process appended meanwhile stays, and this one follows it, also where that process
/// began a conversation of the same name: there is one of a name. A turn of the same run behind those that
/// `session` knows of is one that broke off: the new one takes its place. What `also` says is done in the
/// same transaction.
///
/// # Errors
/// When it is not on the disk.
pub async fn append(
    store: &Store,
    session: &Session,
    run: &str,
    messages: &[Message],
    also: Vec<Job>,
) -> Result<Session, StoreError> {
    let (mut session, run) = (session.clone(), run.to_owned());
    let text = serde_json::to_string(messages).unwrap_or_default();
    store
        .write(Durability::Full, move |transaction| {
            if session.turns == 0
                && let Some(name) = &session.name
            {
                let begun = transaction
                    .prepare_cached("SELECT id FROM sessions WHERE agent = ?1 AND name = ?2")?
                    .query_row([&session.agent, name], |row| row.get(0))
                    .optional()?;
                session.id = begun.unwrap_or(session.id);
            }
            let is_new = enter(transaction, &session, 1)?;
            for job in also {
                job(transaction)?;
            }
            if is_new {
                transaction
                    .prepare_cached(
                        "INSERT INTO session_turns (session, turn, run, at_ms, messages)
                         VALUES (?1, 1, ?2, ?3, ?4)",
                    )?
                    .execute(params![session.id, run, now_ms(), text])?;
                session.turns = 1;
                return Ok(session);
            }
            let replaced = transaction
                .prepare_cached(
                    "UPDATE session_turns SET messages = ?4, at_ms = ?5
                     WHERE session = ?1 AND turn > ?2 AND run = ?3",
                )?
                .execute(params![session.id, session.turns, run, text, now_ms()])?;
            if replaced == 0 {
                transaction
                    .prepare_cached(
                        "INSERT INTO session_turns (session, turn, run, at_ms, messages)
                         SELECT id, turns + 1, ?2, ?3, ?4 FROM sessions WHERE id = ?1",
                    )?
                    .execute(params![session.id, run, now_ms(), text])?;
            }
            transaction
                .prepare_cached(
                    "UPDATE sessions SET turns = turns + ?2, updated_ms = ?3 WHERE id = ?1",
                )?
                .execute(params![session.id, i64::from(replaced == 0), now_ms()])?;
            // Not by `RETURNING`, for which SQLite makes a table each time.
            session.turns = transaction
                .prepare_cached("SELECT turns FROM sessions WHERE id = ?1")?
                .query_row([&session.id], |row| row.get(0))?;
            Ok(session)
        })
        .await
}

/// Enters a conversation that is not there yet, with so many turns; says whether it was new.
fn enter(transaction: &Transaction<'_>, session: &Session, turns: i64) -> rusqlite::Result<bool> {
    let entered = transaction
        .prepare_cached(
            "INSERT INTO sessions (id, agent, name, parent, created_ms, updated_ms, turns)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            session.id,
            session.agent,
            session.name,
            session.parent,
            now_ms(),
            turns
        ])?;
    Ok(entered == 1)
}

/// A copy of a conversation that goes its own way from here.
///
/// # Errors
/// When it cannot be written, or the agent has a conversation of this name.
pub async fn fork(
    store: &Store,
    session: &Session,
    name: Option<&str>,
) -> Result<Session, StoreError> {
    let mut copy = Session::begin(&session.agent, None);
    copy.name = name.map(str::to_owned);
    copy.parent = Some(session.id.clone());
    let (original, written) = (session.id.clone(), copy.clone());
    copy.turns = store
        .write(Durability::Full, move |transaction| {
            enter(transaction, &written, 0)?;
            transaction.execute(
                "INSERT INTO session_turns (session, turn, run, at_ms, messages)
                 SELECT ?2, turn, run, at_ms, messages FROM session_turns WHERE session = ?1",
                params![original, written.id],
            )?;
            transaction.execute(
                "INSERT INTO session_summaries (session, turn, at_ms, messages)
                 SELECT ?2, turn, at_ms, messages FROM session_summaries WHERE session = ?1",
                params![original, written.id],
            )?;
            transaction.query_row(
                "UPDATE sessions SET turns = (SELECT count(*) FROM session_turns WHERE session = ?1)
                 WHERE id = ?1 RETURNING turns",
                params![written.id],
                |row| row.get(0),
            )
        })
        .await?;
    Ok(copy)
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> Message {
        Message::User {
            text: text.to_owned(),
        }
    }

    #[tokio::test]
    async fn conversations_are_kept_by_agent_and_name() {
        let store = Store::in_memory().unwrap();
        assert_eq!(last(&store, "a").unwrap(), None);
        let named = Session::begin("a", Some("n"));
        append(&store, &named, "r1", &[user("1")], Vec::new())
            .await
            .unwrap();
        // It broke off, and the run went on.
        append(&store, &named, "r2", &[user("broken")], Vec::new())
            .await
            .unwrap();
        let kept = append(&store, &named, "r2", &[user("2"), user("3")], Vec::new()).await;
        assert_eq!(kept.unwrap().turns, 2);
        let other = Session::begin("b", Some("n"));
        append(&store, &other, "r3", &[user("x")], Vec::new())
            .await
            .unwrap();

        let found = find(&store, "a", "n").unwrap().unwrap();
        assert_eq!((found.id.as_str(), found.turns), (named.id.as_str(), 2));
        assert_eq!(find(&store, "a", &named.id).unwrap().unwrap().id, named.id);
        assert_eq!(find(&store, "b", &named.id).unwrap(), None);
        assert_eq!(last(&store, "a").unwrap().unwrap().id, named.id);
        assert_eq!(
            history(&store, &found).unwrap(),
            [user("1"), user("2"), user("3")]
        );

        let mut copy = fork(&store, &found, Some("m")).await.unwrap();
        let fourth = append(&store, &copy, "r4", &[user("4")], Vec::new()).await;
        // Until it is known, the turn is not part of the conversation as it was.
        assert_eq!(history(&store, &copy).unwrap().len(), 3);
        copy = fourth.unwrap();
        assert_eq!(
            history(&store, &copy).unwrap(),
            [user("1"), user("2"), user("3"), user("4")]
        );
        assert_eq!(history(&store, &found).unwrap().len(), 3);
        assert_eq!(
            find(&store, "a", "m").unwrap().unwrap().parent,
            Some(named.id)
        );
        assert!(fork(&store, &found, Some("m")).await.is_err());
        assert_eq!(list(&store, "a", 10).unwrap().len(), 2);
        let second = fork(&store, &copy, None).await.unwrap();
        for session in [&found, &copy, &second] {
            assert_eq!(charged(&store, session).unwrap(), found.id);
        }
    }

    #[tokio::test]
    async fn a_name_that_two_begin_at_once_is_one_conversation() {
        let store = Store::in_memory().unwrap();
        let [one, two] = [(); 2].map(|()| Session::begin("a", Some("n")));
        assert_eq!(one.id, two.id, "they share a budget");
        assert_ne!(Session::begin("b", Some("n")).id, one.id);
        // As one that was forked, or begun before names had ids of their own.
        let one = Session {
            id: Session::begin("a", None).id,
            ..one
        };
        let one = append(&store, &one, "r1", &[user("1")], Vec::new()).await;
        let two = append(&store, &two, "r2", &[user("2")], Vec::new()).await;
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!((&two.id, one.turns, two.turns), (&one.id, 1, 2));
        let two = append(&store, &two, "r3", &[user("3")], Vec::new()).await;
        assert_eq!(
            history(&store, &two.unwrap()).unwrap(),
            [user("1"), user("2"), user("3")]
        );
        assert_eq!(list(&store, "a", 10).unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_summary_stands_for_older_turns_and_nothing_is_lost() {
        let store = Store::in_memory().unwrap();
        let mut session = Session::begin("a", None);
        let turns = [vec![user("1"), user("2")], vec![user("3")], vec![user("4")]];
        for (number, turn) in turns.iter().enumerate() {
            let run = format!("r{number}");
            session = append(&store, &session, &run, turn, Vec::new())
                .await
                .unwrap();
        }
        // As it was a turn earlier, a summary of the first turn and of half of the second.
        let earlier = Session {
            turns: 2,
            ..session.clone()
        };
        let sum = |session: &Session, kept, text| summing_up(session, kept, &[user(text)]);
        let also = vec![sum(&earlier, 1, "sum")];
        append(&store, &earlier, "r2", &turns[2], also)
            .await
            .unwrap();
        assert_eq!(
            history(&store, &session).unwrap(),
            [user("sum"), user("3"), user("4")]
        );
        assert_eq!(transcript(&store, &session).unwrap().len(), 4);
        let copy = fork(&store, &session, None).await.unwrap();
        assert_eq!(history(&store, &copy).unwrap().len(), 3);
        for (kept, expected) in [(0, 1), (1, 2), (2, 3)] {
            let mut other = fork(&store, &copy, None).await.unwrap();
            other.turns = 3;
            let job = sum(&other, kept, "later");
            store.write(Durability::Full, job).await.unwrap();
            assert_eq!(history(&store, &other).unwrap().len(), expected, "{kept}");
        }
        // All of it is kept: there is nothing to stand for.
        let mut whole = Session::begin("a", None);
        whole = append(&store, &whole, "r", &turns[0], Vec::new())
            .await
            .unwrap();
        let job = sum(&whole, 1, "half a turn");
        store.write(Durability::Full, job).await.unwrap();
        assert_eq!(history(&store, &whole).unwrap(), turns[0]);
    }
}
