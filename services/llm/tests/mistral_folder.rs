//! A model folder (safetensors, `tokenizer.json`) in mistralrs: a Llama of two small layers with
//! random weights, made here. Its answers are letters without sense, which is enough to see that
//! folders load, and that schemas, seeds and several requests at once work on them.
#![cfg(feature = "mistralrs")]
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use foil_llm::config::{EngineConfig, EngineKind};
use foil_llm::mistral::Mistral;
use foil_llm::{
    ChatRequest, Completion, EngineError, Finish, LanguageModel, Message, Role, collect,
};
use serde_json::{Map, Value, json};

const VOCABULARY: usize = 258;
const HIDDEN: usize = 64;
const INNER: usize = 128;
const LAYERS: usize = 2;

/// The characters that byte-level vocabularies write bytes as.
fn byte_characters() -> Vec<char> {
    let mut other = 256;
    (0..=255_u8)
        .map(|byte| match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
            _ => {
                other += 1;
                char::from_u32(other - 1).unwrap()
            }
        })
        .collect()
}

fn write_tokenizer(folder: &Path) {
    let vocabulary: Map<String, Value> = byte_characters()
        .into_iter()
        .enumerate()
        .map(|(id, character)| (character.to_string(), id.into()))
        .collect();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false, "special": true})
    };
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                       "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(256, "<|im_start|>"), special(257, "<|im_end|>")],
        "normalizer": null, "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
                  "continuing_subword_prefix": null, "end_of_word_suffix": null,
                  "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocabulary, "merges": []}
    });
    let template = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}\
                    <|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n\
                    {% endif %}";
    let config = json!({"chat_template": template, "eos_token": "<|im_end|>", "bos_token": null});
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

fn write_config(folder: &Path) {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": INNER, "vocab_size": VOCABULARY,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 4,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "rope_scaling": null, "tie_word_embeddings": false, "torch_dtype": "float32",
        "eos_token_id": 257
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

/// Weights between -1 and 1, the same ones in every run.
struct Weights(u64);

impl Iterator for Weights {
    type Item = f32;

    fn next(&mut self) -> Option<f32> {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        Some((self.0 >> 40) as f32 / (1_u32 << 23) as f32 - 1.0)
    }
}

fn write_weights(folder: &Path) {
    let mut random = Weights(42);
    let mut header = Map::new();
    let mut data: Vec<u8> = Vec::new();
    let mut add = |name: &str, shape: &[usize], values: Vec<f32>| {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.into(), entry);
    };
    let mut matrix = |rows: usize, columns: usize| -> Vec<f32> {
        let scale = 1.0 / (columns as f32).sqrt();
        random
            .by_ref()
            .take(rows * columns)
            .map(|value| value * scale)
            .collect()
    };
    let embedding = matrix(VOCABULARY, HIDDEN);
    add(
        "model.embed_tokens.weight",
        &[VOCABULARY, HIDDEN],
        embedding,
    );
    for layer in 0..LAYERS {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}.weight");
        for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            let values = matrix(HIDDEN, HIDDEN);
            add(
                &name(&format!("self_attn.{part}")),
                &[HIDDEN, HIDDEN],
                values,
            );
        }
        for (part, rows, columns) in [
            ("gate_proj", INNER, HIDDEN),
            ("up_proj", INNER, HIDDEN),
            ("down_proj", HIDDEN, INNER),
        ] {
            let values = matrix(rows, columns);
            add(&name(&format!("mlp.{part}")), &[rows, columns], values);
        }
        for part in ["input_layernorm", "post_attention_layernorm"] {
            add(&name(part), &[HIDDEN], vec![1.0; HIDDEN]);
        }
    }
    add("model.norm.weight", &[HIDDEN], vec![1.0; HIDDEN]);
    // Only letters have weights that are not 0, so the best logit is a letter's.
    let mut head = matrix(VOCABULARY, HIDDEN);
    for (token, row) in head.chunks_mut(HIDDEN).enumerate() {
        let letter = u8::try_from(token).is_ok_and(|byte| byte.is_ascii_lowercase());
        row.iter_mut()
            .for_each(|value| *value *= if letter { 8.0 } else { 0.0 });
    }
    add("lm_head.weight", &[VOCABULARY, HIDDEN], head);
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
}

async fn load(folder: &Path) -> Result<Mistral, EngineError> {
    Mistral::load(&EngineConfig {
        engine: EngineKind::Mistralrs,
        model: folder.display().to_string(),
        ..EngineConfig::default()
    })
    .await
}

fn ask(text: &str) -> ChatRequest {
    let message = Message {
        role: Role::User,
        content: text.into(),
    };
    ChatRequest::new(vec![message], 24)
}

async fn answer(model: &Mistral, request: ChatRequest) -> Completion {
    collect(model.chat(request).await.unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_loads_and_keeps_schemas_and_seeds() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path());
    write_tokenizer(folder.path());
    let error = load(folder.path()).await.err().unwrap().to_string();
    assert!(error.contains("safetensors"), "{error}");
    write_weights(folder.path());
    let model = Arc::new(load(folder.path()).await.unwrap());
    assert_eq!(
        model.info().context_tokens,
        512,
        "no more than the model was made for"
    );
    assert_eq!(
        model.count_tokens("hello").unwrap(),
        5,
        "one token for a byte"
    );

    let greedy = answer(&model, ask("hello")).await;
    assert_eq!(
        (greedy.finish, greedy.usage.completion_tokens),
        (Finish::Length, 24)
    );
    assert!(
        greedy.text.bytes().all(|byte| byte.is_ascii_lowercase()),
        "{}",
        greedy.text
    );
    // "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n" by hand.
    assert_eq!(greedy.usage.prompt_tokens, 1 + 5 + 5 + 2 + 1 + 10);

    let mut constrained = ask("hello");
    constrained.schema = Some(json!({
        "type": "object", "additionalProperties": false, "required": ["word"],
        "properties": {"word": {"enum": ["b", "a"]}}
    }));
    let constrained = answer(&model, constrained).await;
    let value: Value = serde_json::from_str(&constrained.text).unwrap();
    assert!(["a", "b"].contains(&value["word"].as_str().unwrap()));
    assert_eq!(constrained.finish, Finish::Stop);

    let seeded = |seed| {
        let mut request = ask("hello");
        (request.temperature, request.seed) = (1.0, seed);
        request
    };
    let alone = answer(&model, seeded(1)).await.text;
    assert_ne!(alone, answer(&model, seeded(2)).await.text);
    assert_eq!(alone, answer(&model, seeded(1)).await.text);

    // Prompts of different lengths at once. Their logits differ from those of one request alone by
    // rounding (activations are f16 on a CPU), so the texts are not compared.
    let crowd = (1..=8).map(|words| answer(&model, ask(&"word ".repeat(words))));
    for completion in futures::future::join_all(crowd).await {
        assert_eq!(completion.finish, Finish::Length);
        assert_eq!(completion.usage.completion_tokens, 24);
    }
}
