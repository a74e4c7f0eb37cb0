//! OpenTelemetry's names for what spans say, as far as Foil says it: here and nowhere else.
//!
//! They follow the semantic conventions of the version in [`SCHEMA_URL`], which every span carries:
//! `messaging` and `gen_ai` are in development there, `db` is stable. Neither NATS nor Qdrant is in
//! the conventions' lists of systems; their values are ours.

/// The conventions' version, as every exported span names it.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

/// Which process of a service it is.
pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";
pub const SERVICE_VERSION: &str = "service.version";

/// Why a span failed; of a closed set.
pub const ERROR_TYPE: &str = "error.type";

/// Which of Foil's stages worked on a message. Not of the conventions.
pub const FOIL_STAGE: &str = "foil.stage";
/// How the work on a message ended, as in the metrics' label. Not of the conventions.
pub const FOIL_OUTCOME: &str = "foil.outcome";
/// How often the message was delivered. Not of the conventions.
pub const FOIL_DELIVERED: &str = "foil.delivered";
/// Seconds that a request waited for a place in its engine. Not of the conventions.
pub const FOIL_QUEUED_SECONDS: &str = "foil.queued_seconds";
/// Texts of one micro-batch. Not of the conventions.
pub const FOIL_BATCH_TEXTS: &str = "foil.batch.texts";
/// Tokens of one micro-batch. Not of the conventions.
pub const FOIL_BATCH_TOKENS: &str = "foil.batch.tokens";

/// Messages: NATS.
pub mod messaging {
    /// The value of [`SYSTEM`].
    pub const NATS: &str = "nats";
    pub const SYSTEM: &str = "messaging.system";
    /// [`SEND`] or [`PROCESS`].
    pub const OPERATION_NAME: &str = "messaging.operation.name";
    pub const OPERATION_TYPE: &str = "messaging.operation.type";
    /// Publishing, up to the stream's ack. Spans of kind producer.
    pub const SEND: &str = "send";
    /// A stage's work on one message. Spans of kind consumer.
    pub const PROCESS: &str = "process";
    /// The consumer's filter, or the subject's first tokens: never with a user.
    pub const DESTINATION_TEMPLATE: &str = "messaging.destination.template";
    /// The durable consumer.
    pub const CONSUMER_GROUP_NAME: &str = "messaging.consumer.group.name";
    /// Bytes.
    pub const MESSAGE_BODY_SIZE: &str = "messaging.message.body.size";
}

/// Language and embedding models.
pub mod gen_ai {
    pub const OPERATION_NAME: &str = "gen_ai.operation.name";
    /// A value of [`OPERATION_NAME`].
    pub const CHAT: &str = "chat";
    /// A value of [`OPERATION_NAME`].
    pub const EMBEDDINGS: &str = "embeddings";
    pub const PROVIDER_NAME: &str = "gen_ai.provider.name";
    pub const REQUEST_MODEL: &str = "gen_ai.request.model";
    pub const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
    pub const REQUEST_TEMPERATURE: &str = "gen_ai.request.temperature";
    /// `json` or `text`.
    pub const OUTPUT_TYPE: &str = "gen_ai.output.type";
    pub const USAGE_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    pub const USAGE_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    pub const USAGE_CACHE_READ_INPUT_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
    pub const RESPONSE_FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
    /// Seconds.
    pub const RESPONSE_TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
    pub const EMBEDDINGS_DIMENSION_COUNT: &str = "gen_ai.embeddings.dimension.count";
}

/// Qdrant.
pub mod db {
    /// The value of [`SYSTEM_NAME`].
    pub const QDRANT: &str = "qdrant";
    pub const SYSTEM_NAME: &str = "db.system.name";
    pub const OPERATION_NAME: &str = "db.operation.name";
    pub const COLLECTION_NAME: &str = "db.collection.name";
}
