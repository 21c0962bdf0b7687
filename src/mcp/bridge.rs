//! Our tools served to an agent CLI: it calls them over MCP, and they run here, in the process that
//! holds the executor, the policy, the approvals, the log and the ledger.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    Implementation, InitializeResult, ListToolsResult, PaginatedRequestParams, ServerCapabilities,
    Tool,
};
use rmcp::service::{RequestContext, RoleServer, ServiceExt};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::files;
use crate::message::{ToolCall, ToolResult, ToolSpec};
use crate::providers::{BoxFuture, Running, ToolBridge};

use super::relay;

/// Runs one tool call: looks it up, asks, executes, logs.
pub type RunTool = Arc<dyn Fn(ToolCall) -> BoxFuture<'static, ToolResult> + Send + Sync>;

/// A socket on which tools are served until this value is dropped; so are the calls that run.
pub struct Bridge {
    socket: PathBuf,
    directory: PathBuf,
    relay: Vec<OsString>,
    running: Running,
    accept: JoinHandle<()>,
}

impl Bridge {
    /// Serves `tools` on a new socket in a new private directory below `parent`. `program` is this
    /// program, which the CLI starts as the relay.
    ///
    /// # Errors
    /// When the directory or the socket cannot be made.
    pub fn open(
        parent: &Path,
        program: &Path,
        tools: &[ToolSpec],
        run: RunTool,
    ) -> io::Result<Self> {
        let directory = parent.join(format!("b{:016x}", fastrand::u64(..)));
        files::private_dir(&directory)?;
        let socket = directory.join("s");
        let listener = UnixListener::bind(&socket).inspect_err(|_| {
            drop(std::fs::remove_dir(&directory));
        })?;
        let running = Running::default();
        let tools = Arc::new(Tools {
            list: tools.iter().map(offered).collect(),
            run,
            running: running.clone(),
        });
        let accept = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&tools)));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            socket,
            directory,
            relay: vec![program.into(), relay::SUBCOMMAND.into()],
            running,
            accept,
        })
    }

    /// What a provider is told about it.
    pub fn address(&self) -> ToolBridge {
        ToolBridge {
            socket: self.socket.clone(),
            relay: self.relay.clone(),
            running: self.running.clone(),
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.accept.abort();
        // What is left of an empty directory harms nobody.
        drop(std::fs::remove_file(&self.socket));
        drop(std::fs::remove_dir(&self.directory));
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

struct Tools {
    list: Vec<Tool>,
    run: RunTool,
    running: Running,
}

/// Serves one connection. When it ends, or this future is dropped, the calls that run are dropped.
async fn serve(stream: UnixStream, tools: Arc<Tools>) {
    let (open, closed) = watch::channel(());
    let server = Server { tools, closed };
    let (reader, writer) = stream.into_split();
    let reader = UntilEnd {
        reader,
        open: Some(open),
    };
    match server.serve((reader, writer)).await {
        Ok(service) => {
            if let Err(error) = service.waiting().await {
                tracing::debug!(%error, "the bridge to the tools broke");
            }
        }
        Err(error) => tracing::debug!(%error, "the other side of the bridge spoke no MCP"),
    }
}

/// Tells at once when there is nothing more to read: the library waits for calls that run instead.
struct UntilEnd {
    reader: OwnedReadHalf,
    open: Option<watch::Sender<()>>,
}

impl AsyncRead for UntilEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.reader).poll_read(context, buffer));
        if read.is_err() || buffer.filled().len() == before {
            self.open = None;
        }
        Poll::Ready(read)
    }
}

#[derive(Clone)]
struct Server {
    tools: Arc<Tools>,
    /// Ends when the connection does.
    closed: watch::Receiver<()>,
}

impl rmcp::ServerHandler for Server {
    fn get_info(&self) -> InitializeResult {
        InitializeResult::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("orch", env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.list.clone()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let call = ToolCall {
            id: format!("mcp_{:016x}", fastrand::u64(..)),
            name: request.name.into_owned(),
            arguments: Value::Object(request.arguments.unwrap_or_default()).to_string(),
            ..ToolCall::default()
        };
        let _running = self.tools.running.start();
        let mut closed = self.closed.clone();
        tokio::select! {
            result = (self.tools.run)(call) => {
                let content = vec![ContentBlock::text(result.content)];
                let result = if result.is_error {
                    CallToolResult::error(content)
                } else {
                    CallToolResult::success(content)
                };
                Ok(result.into())
            }
            () = context.ct.cancelled() => Err(ErrorData::internal_error("cancelled", None)),
            _ = closed.changed() => Err(ErrorData::internal_error("closed", None)),
        }
    }
}

fn offered(tool: &ToolSpec) -> Tool {
    let parameters = match &tool.parameters {
        Value::Object(parameters) => parameters.clone(),
        _ => Map::from_iter([("type".to_owned(), Value::from("object"))]),
    };
    Tool::new(tool.name.clone(), tool.description.clone(), parameters)
}
