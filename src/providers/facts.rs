//! What is known about a model beside its price.

use super::ToolMode;

/// Properties of a model that change what may be sent to it. The price table knows them; whoever
/// builds a request looks them up.
///
/// The default is what holds for a model that nobody knows: everything may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFacts {
    /// Tokens of input that fit, where known.
    pub max_input_tokens: Option<u64>,
    /// Tokens that one answer can have, where known.
    pub max_output_tokens: Option<u64>,
    /// Whether it has function calling, where known.
    pub function_calling: Option<bool>,
    /// Whether it takes `temperature`.
    pub sampling_params: bool,
    /// Whether it reasons before it answers, where known.
    pub reasoning: Option<bool>,
    /// Whether it is served by `/v1/responses` alone, which is not spoken here.
    pub responses_only: bool,
    /// The model that took its place, where it is retired.
    pub successor: Option<String>,
}

impl Default for ModelFacts {
    fn default() -> Self {
        Self {
            max_input_tokens: None,
            max_output_tokens: None,
            function_calling: None,
            sampling_params: true,
            reasoning: None,
            responses_only: false,
            successor: None,
        }
    }
}

impl ModelFacts {
    /// How tools are offered to this model: natively unless it is known to have no function calling.
    pub fn tool_mode(&self) -> ToolMode {
        match self.function_calling {
            Some(false) => ToolMode::Text,
            Some(true) | None => ToolMode::Native,
        }
    }
}
