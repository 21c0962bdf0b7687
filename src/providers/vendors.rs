//! The vendors that need no entry in a configuration: where they are, which variables hold their
//! keys, and in what they differ from plain chat completions.

use super::ProviderKind;

/// One vendor.
#[derive(Debug, PartialEq, Eq)]
pub struct Vendor {
    /// The part of a model name before the first `/`.
    pub prefix: &'static str,
    /// Other spellings of the prefix.
    pub other_prefixes: &'static [&'static str],
    /// The name that people know.
    pub title: &'static str,
    /// The protocol it is spoken to with.
    pub kind: ProviderKind,
    /// The base URL, without the path of the call.
    pub base_url: &'static str,
    /// Variables that may hold the key, in the order they are tried.
    pub key_variables: &'static [&'static str],
    /// Keys of these variables are sent as `Authorization: Bearer` where the vendor has a header of
    /// its own for all others.
    pub bearer_variables: &'static [&'static str],
    /// Variables that name another base URL, in the order they are tried.
    pub base_variables: &'static [&'static str],
    /// Variables whose values are sent as headers.
    pub header_variables: &'static [(&'static str, &'static str)],
    /// Where its account is topped up.
    pub billing_page: Option<&'static str>,
    /// Whether it runs on the user's own machines: no key needed, never exchanged for a remote one.
    pub local: bool,
    /// Whether its own model names hold slashes, so that a vendor's prefix in one means nothing.
    pub slash_names: bool,
    /// In what its requests and answers differ.
    pub quirks: Quirks,
}

/// In what a vendor differs from plain chat completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// Newer models take `max_completion_tokens` alone and refuse a temperature.
    pub reasoning_models: bool,
    /// It takes `stream_options`, without which most send no usage.
    pub stream_options: bool,
    /// It takes a temperature of 0; otherwise 1e-8 is sent.
    pub zero_temperature: bool,
    /// Ids of tool calls are exactly nine letters and digits.
    pub short_call_ids: bool,
    /// Tool calls carry signatures that must come back, and a stand-in where there is none.
    pub thought_signatures: bool,
    /// How reasoning of a tool loop goes back.
    pub reasoning: ReasoningReplay,
    /// `usage: {include: true}` makes it tell the cost.
    pub usage_include: bool,
    /// What it tells of a cost is what it bills.
    pub tells_cost: bool,
    /// An assistant message without text needs an empty `content`; otherwise it is left out.
    pub empty_content: bool,
    /// How it is held to a JSON Schema.
    pub structured: Structured,
    /// Its request limit in headers counts days, not minutes.
    pub daily_request_limit: bool,
    /// It cuts prompts that do not fit without saying so.
    pub cuts_prompts: bool,
}

/// How the reasoning of earlier turns is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningReplay {
    /// Not at all.
    None,
    /// As `reasoning_content`, within the running tool loop.
    Content,
    /// As `reasoning`, within the running tool loop.
    Reasoning,
    /// As `reasoning_details`, verbatim.
    Details,
}

/// How an answer is held to a JSON Schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structured {
    /// `response_format: json_schema`.
    Schema,
    /// The same, but not together with tools: then as `Instruct`.
    SchemaWithoutTools,
    /// `response_format: json_object` and words in the system prompt.
    Object,
    /// Words in the system prompt alone.
    Instruct,
}

/// What is safe to send to a host that nobody knows.
pub const UNKNOWN: Quirks = Quirks {
    reasoning_models: false,
    stream_options: true,
    zero_temperature: true,
    short_call_ids: false,
    thought_signatures: false,
    reasoning: ReasoningReplay::None,
    usage_include: false,
    tells_cost: false,
    empty_content: false,
    structured: Structured::Instruct,
    daily_request_limit: false,
    cuts_prompts: false,
};

const HOSTED: Vendor = Vendor {
    prefix: "",
    other_prefixes: &[],
    title: "",
    kind: ProviderKind::Openai,
    base_url: "",
    key_variables: &[],
    bearer_variables: &[],
    base_variables: &[],
    header_variables: &[],
    billing_page: None,
    local: false,
    slash_names: false,
    quirks: UNKNOWN,
};

/// Every known vendor.
pub static VENDORS: [Vendor; 15] = [
    Vendor {
        prefix: "openai",
        title: "OpenAI",
        base_url: "https://api.openai.com/v1",
        key_variables: &["OPENAI_API_KEY"],
        base_variables: &["OPENAI_BASE_URL", "OPENAI_API_BASE"],
        header_variables: &[
            ("OPENAI_ORG_ID", "OpenAI-Organization"),
            ("OPENAI_PROJECT_ID", "OpenAI-Project"),
        ],
        billing_page: Some("https://platform.openai.com/settings/organization/billing"),
        quirks: Quirks {
            reasoning_models: true,
            structured: Structured::Schema,
            ..UNKNOWN
        },
        ..HOSTED
    },
    Vendor {
        prefix: "anthropic",
        title: "Anthropic",
        kind: ProviderKind::Anthropic,
        base_url: "https://api.anthropic.com/v1",
        key_variables: &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"],
        bearer_variables: &["ANTHROPIC_AUTH_TOKEN"],
        base_variables: &["ANTHROPIC_BASE_URL"],
        billing_page: Some("https://platform.claude.com/settings/billing"),
        ..HOSTED
    },
    Vendor {
        prefix: "gemini",
        title: "Google Gemini",
        base_url: "https://generativelanguage.googleapis.com/v1beta/openai",
        key_variables: &[
            "GEMINI_API_KEY",
            "GOOGLE_API_KEY",
            "GOOGLE_GENERATIVE_AI_API_KEY",
        ],
        billing_page: Some("https://aistudio.google.com/usage"),
        quirks: Quirks {
            thought_signatures: true,
            structured: Structured::Schema,
            ..UNKNOWN
        },
        ..HOSTED
    },
    Vendor {
        prefix: "mistral",
        title: "Mistral",
        base_url: "https://api.mistral.ai/v1",
        key_variables: &["MISTRAL_API_KEY"],
        base_variables: &["MISTRAL_API_BASE"],
        billing_page: Some("https://admin.mistral.ai/organization/billing"),
        quirks: Quirks {
            stream_options: false,
            short_call_ids: true,
            structured: Structured::Schema,
            ..UNKNOWN
        },
        ..HOSTED
    },
    Vendor {
        prefix: "groq",
        title: "Groq",
        base_url: "https://api.groq.com/openai/v1",
        key_variables: &["GROQ_API_KEY"],
        base_variables: &["GROQ_API_BASE"],
        billing_page: Some("https://console.groq.com/settings/billing"),
        slash_names: true,
        quirks: Quirks {
            zero_temperature: false,
            daily_request_limit: true,
            ..UNKNOWN
        },
        ..HOSTED
    },
    Vendor {
        prefix: "together_ai",
        title: "Together AI",
        base_url: "https://api.together.ai/v1",
        key_variables: &[
            "TOGETHER_API_KEY",
            "TOGETHER_AI_API_KEY",
            "TOGETHERAI_API_KEY",
            "TOGETHER_AI_TOKEN",
        ],
        base_variables: &["TOGETHER_AI_API_BASE"],
        billing_page: Some("https://api.together.ai/settings/billing"),
        slash_names: true,
        quirks: Quirks {
            structured: Structured::SchemaWithoutTools,
            ..UNKNOWN
        },
        ..HOSTED
    },
    Vendor {
        prefix: "deepseek",
        title: "DeepSeek",
        base_url: "https://api.deepseek.com",
        key_variables: &["DEEPSEEK_API_KEY"],
        base_variables: &["DEEPSEEK_API_BASE"],
        billing_page: Some("https://platform.deepseek.com/top_up"),
        quirks: Quirks {
            reasoning: ReasoningReplay::Content,
            structured: Structured::Object,
            ..UNKNOWN
        },
        ..HOSTED
    },
    Vendor {
        prefix: "xai",
        title: "xAI",
        base_url: "https://api.x.ai/v1",
        key_variables: &["XAI_API_KEY"],
        base_variables: &["XAI_API_BASE"],
        billing_page: Some("https://console.x.ai"),
        quirks: Quirks {
            empty_content: true,
            tells_cost: true,
            structured: Structured::Schema,
            ..UNKNOWN
        },
        ..HOSTED
    },
    Vendor {
        prefix: "openrouter",
        title: "OpenRouter",
        base_url: "https://openrouter.ai/api/v1",
        key_variables: &["OPENROUTER_API_KEY", "OR_API_KEY"],
        base_variables: &["OPENROUTER_API_BASE"],
        billing_page: Some("https://openrouter.ai/settings/credits"),
        slash_names: true,
        quirks: Quirks {
            reasoning: ReasoningReplay::Details,
            usage_include: true,
            tells_cost: true,
            structured: Structured::Schema,
            ..UNKNOWN
        },
        ..HOSTED
    },
    Vendor {
        prefix: "fireworks_ai",
        title: "Fireworks AI",
        base_url: "https://api.fireworks.ai/inference/v1",
        key_variables: &[
            "FIREWORKS_API_KEY",
            "FIREWORKS_AI_API_KEY",
            "FIREWORKSAI_API_KEY",
            "FIREWORKS_AI_TOKEN",
        ],
        base_variables: &["FIREWORKS_API_BASE"],
        billing_page: Some("https://app.fireworks.ai/account/billing"),
        slash_names: true,
        quirks: Quirks {
            structured: Structured::SchemaWithoutTools,
            ..UNKNOWN
        },
        ..HOSTED
    },
    Vendor {
        prefix: "cerebras",
        title: "Cerebras",
        base_url: "https://api.cerebras.ai/v1",
        key_variables: &["CEREBRAS_API_KEY"],
        base_variables: &["CEREBRAS_API_BASE"],
        billing_page: Some("https://cloud.cerebras.ai"),
        quirks: Quirks {
            structured: Structured::SchemaWithoutTools,
            ..UNKNOWN
        },
        ..HOSTED
    },
    Vendor {
        prefix: "cohere",
        title: "Cohere",
        base_url: "https://api.cohere.ai/compatibility/v1",
        key_variables: &["COHERE_API_KEY", "CO_API_KEY"],
        billing_page: Some("https://dashboard.cohere.com/billing"),
        quirks: Quirks {
            structured: Structured::SchemaWithoutTools,
            ..UNKNOWN
        },
        ..HOSTED
    },
    Vendor {
        prefix: "ollama",
        title: "Ollama",
        base_url: "http://localhost:11434/v1",
        key_variables: &["OLLAMA_API_KEY"],
        base_variables: &["OLLAMA_API_BASE", "OLLAMA_HOST"],
        local: true,
        slash_names: true,
        quirks: Quirks {
            structured: Structured::SchemaWithoutTools,
            cuts_prompts: true,
            ..UNKNOWN
        },
        ..HOSTED
    },
    Vendor {
        prefix: "lm_studio",
        title: "LM Studio",
        base_url: "http://localhost:1234/v1",
        key_variables: &["LM_STUDIO_API_KEY", "LMSTUDIO_API_KEY"],
        base_variables: &["LM_STUDIO_API_BASE"],
        local: true,
        slash_names: true,
        quirks: Quirks {
            structured: Structured::SchemaWithoutTools,
            ..UNKNOWN
        },
        ..HOSTED
    },
    Vendor {
        prefix: "vllm",
        other_prefixes: &["hosted_vllm"],
        title: "vLLM",
        base_url: "http://localhost:8000/v1",
        key_variables: &["HOSTED_VLLM_API_KEY"],
        base_variables: &["HOSTED_VLLM_API_BASE"],
        local: true,
        slash_names: true,
        quirks: Quirks {
            reasoning: ReasoningReplay::Reasoning,
            structured: Structured::SchemaWithoutTools,
            ..UNKNOWN
        },
        ..HOSTED
    },
];

/// The vendor with this prefix, in any of its spellings.
pub fn find(prefix: &str) -> Option<&'static Vendor> {
    VENDORS
        .iter()
        .find(|vendor| vendor.prefix == prefix || vendor.other_prefixes.contains(&prefix))
}

/// Variables that decide where a known vendor's requests and key go: no `.env` file may set them.
pub fn base_url_variables() -> impl Iterator<Item = &'static str> {
    VENDORS
        .iter()
        .flat_map(|vendor| vendor.base_variables)
        .copied()
}
