//! The servers of one run of an agent: started side by side, each with its own time.

use futures_util::future::join_all;

use super::client::{Connection, ServerSpec, connect};
use crate::event::Events;
use crate::message::{ToolCall, ToolSpec};
use crate::tools::{self, Effect, Guard, ToolContext, ToolError, ToolOutcome, ToolOutput};

/// Servers that answered, and those that did not. Dropping it ends their processes.
#[derive(Default)]
pub struct Servers {
    connections: Vec<Connection>,
    /// Those that failed.
    pub failed: Vec<Failed>,
    /// What the user must know of the others.
    pub warnings: Vec<String>,
}

/// A server that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its name in the configuration.
    pub server: String,
    /// Why.
    pub why: String,
    /// Whether the run cannot do without it.
    pub required: bool,
}

impl Failed {
    /// What the user is told.
    pub fn message(&self) -> String {
        format!(
            "the MCP server `{}` cannot be used: {}",
            self.server, self.why
        )
    }
}

/// Starts servers side by side; one that fails holds up nobody for longer than its own time.
pub async fn start(specs: &[ServerSpec]) -> Servers {
    let mut servers = Servers::default();
    for (spec, connected) in specs.iter().zip(join_all(specs.iter().map(connect)).await) {
        match connected {
            Ok(mut connection) => {
                servers.warnings.append(&mut connection.warnings);
                servers.connections.push(connection);
            }
            Err(why) => servers.failed.push(Failed {
                server: spec.name.clone(),
                why,
                required: spec.server.required,
            }),
        }
    }
    servers
}

impl Servers {
    /// The tools of all servers, as they are offered to models.
    pub fn tools(&self) -> impl Iterator<Item = &ToolSpec> {
        self.connections
            .iter()
            .flat_map(|connection| &connection.tools)
    }

    /// Whether one of the servers has a tool that is offered under this name.
    pub fn have(&self, tool: &str) -> bool {
        self.connections
            .iter()
            .any(|connection| connection.has(tool))
    }

    /// Runs a call of a tool of a server, under everything that holds for all tools.
    ///
    /// # Errors
    /// Only when the tools cannot go on at all.
    pub async fn execute(
        &self,
        context: &ToolContext,
        call: &ToolCall,
        events: &Events,
    ) -> Result<ToolOutcome, std::io::Error> {
        let connection = self
            .connections
            .iter()
            .find(|connection| connection.has(&call.name));
        let guard = Guard {
            tool: &call.name,
            subject: None,
            effect: Some(Effect::Execute),
            limit: connection.map(Connection::limit),
        };
        tools::guarded(context, call, events, &guard, async |arguments| {
            let connection = connection
                .ok_or_else(|| ToolError::refused(format!("there is no tool `{}`", call.name)))?;
            let _running = context.workspace.running(|| call.name.clone()).await;
            let answer = connection.call(&call.name, arguments).await;
            answer.map(ToolOutput::from).map_err(ToolError::tell)
        })
        .await
    }

    /// Ends the servers, politely; tells what the user must know of what they left behind.
    pub async fn close(self) -> Vec<String> {
        let closed = join_all(self.connections.into_iter().map(Connection::close)).await;
        closed.concat()
    }
}
