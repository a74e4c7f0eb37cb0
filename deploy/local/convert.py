#!/usr/bin/env python3
"""Writes the two local models as GGUF files, from the files that the pinned packages carry.

    convert.py llm     SOURCE.gguf  OUT.gguf   a quantised language model, its matrices made Q8_0
    convert.py encoder SOURCE_DIR   OUT.gguf   a BERT sentence encoder (safetensors), as f16

The same input gives the same bytes on every machine: each step is an element-wise IEEE operation in
a pinned numpy, and nothing of the machine or the time is written. Needs the packages of python.txt.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
from gguf import (
    GGMLQuantizationType,
    GGUFReader,
    GGUFValueType,
    GGUFWriter,
    LlamaFileType,
    PoolingType,
    TokenType,
)
from gguf.quants import dequantize, quantize

# The reader lists the header's own three numbers as fields too; the writer makes them itself.
HEADER_FIELDS = "GGUF."
# A word start, as llama.cpp's WordPiece tokeniser marks it.
WORD_START = "\u2581"


class ConvertError(Exception):
    """The source is not what this script can convert."""


def requantise(source: Path, out: Path) -> None:
    """Q4_1 matrices become Q8_0: on a CPU, prompts are then read about twice as fast.

    Metadata and tokenizer are copied as they are; norms stay f32.
    """
    reader = GGUFReader(source)
    architecture = reader.get_field("general.architecture")
    if architecture is None:
        raise ConvertError(f"{source.name}: no general.architecture, so not a model")
    writer = GGUFWriter(out, architecture.contents())
    for field in reader.fields.values():
        if field.name.startswith(HEADER_FIELDS) or field.name == "general.architecture":
            continue
        copy_field(writer, field)
    for tensor in reader.tensors:
        add_as_q8_0(writer, tensor)
    finish(writer)


def copy_field(writer: GGUFWriter, field) -> None:
    if field.name == "general.file_type":
        writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
        return
    kind = field.types[0]
    inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
    writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)


def add_as_q8_0(writer: GGUFWriter, tensor) -> None:
    unchanged = (GGMLQuantizationType.F32, GGMLQuantizationType.Q8_0)
    if tensor.tensor_type in unchanged:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        return
    values = dequantize(tensor.data, tensor.tensor_type)
    writer.add_tensor(
        tensor.name,
        quantize(values, GGMLQuantizationType.Q8_0),
        raw_dtype=GGMLQuantizationType.Q8_0,
    )


def write_encoder(source: Path, out: Path) -> None:
    """A BERT encoder with mean pooling, laid out as llama.cpp expects it."""
    config = read_json(source / "config.json")
    if config.get("model_type") != "bert":
        raise ConvertError(f"config.json: model_type is {config.get('model_type')!r}, not 'bert'")
    if not read_json(source / "1_Pooling/config.json").get("pooling_mode_mean_tokens"):
        raise ConvertError("1_Pooling/config.json: the model does not pool by mean")
    writer = GGUFWriter(out, "bert")
    add_encoder_metadata(writer, config)
    add_word_piece(writer, source, config["vocab_size"])
    add_encoder_tensors(writer, read_safetensors(source / "model.safetensors"), config)
    finish(writer)


def add_encoder_metadata(writer: GGUFWriter, config: dict) -> None:
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_organization("sentence-transformers")
    writer.add_license("apache-2.0")
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.MEAN)
    writer.add_token_type_count(config["type_vocab_size"])


def add_word_piece(writer: GGUFWriter, source: Path, vocab_size: int) -> None:
    pieces = (source / "vocab.txt").read_text(encoding="utf-8").split("\n")
    pieces = pieces[:-1] if pieces[-1] == "" else pieces
    if len(pieces) != vocab_size:
        raise ConvertError(f"vocab.txt: {len(pieces)} pieces, config.json says {vocab_size}")
    special = read_json(source / "special_tokens_map.json")
    control = {name: pieces.index(token) for name, token in special.items()}
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v2-en")
    writer.add_token_list([marked(piece, piece in special.values()) for piece in pieces])
    writer.add_token_types(
        [
            TokenType.CONTROL if index in control.values() else TokenType.NORMAL
            for index in range(len(pieces))
        ]
    )
    writer.add_bos_token_id(control["cls_token"])
    writer.add_eos_token_id(control["sep_token"])
    writer.add_sep_token_id(control["sep_token"])
    writer.add_pad_token_id(control["pad_token"])
    writer.add_unk_token_id(control["unk_token"])
    writer.add_mask_token_id(control["mask_token"])


def marked(piece: str, is_special: bool) -> str:
    """BERT marks a piece that continues a word (`##x`); GGUF marks one that starts a word."""
    if is_special:
        return piece
    if piece.startswith("##"):
        return piece[2:]
    return WORD_START + piece


# Name in the safetensors file, name in GGUF. The pooler is not used by a sentence encoder.
EMBEDDING_TENSORS = (
    ("embeddings.word_embeddings", "token_embd"),
    ("embeddings.position_embeddings", "position_embd"),
    ("embeddings.token_type_embeddings", "token_types"),
    ("embeddings.LayerNorm", "token_embd_norm"),
)
BLOCK_TENSORS = (
    ("attention.self.query", "attn_q"),
    ("attention.self.key", "attn_k"),
    ("attention.self.value", "attn_v"),
    ("attention.output.dense", "attn_output"),
    ("attention.output.LayerNorm", "attn_output_norm"),
    ("intermediate.dense", "ffn_up"),
    ("output.dense", "ffn_down"),
    ("output.LayerNorm", "layer_output_norm"),
)
# llama.cpp adds these to f32 activations directly, so it wants them in f32.
KEPT_IN_F32 = ("position_embd.weight", "token_types.weight")


def add_encoder_tensors(writer: GGUFWriter, tensors: dict, config: dict) -> None:
    names = list(EMBEDDING_TENSORS)
    for block in range(config["num_hidden_layers"]):
        names += [
            (f"encoder.layer.{block}.{theirs}", f"blk.{block}.{ours}")
            for theirs, ours in BLOCK_TENSORS
        ]
    for theirs, ours in names:
        for part in ("weight", "bias"):
            data = tensors.get(f"{theirs}.{part}")
            if data is None:
                if part == "bias" and theirs.endswith("embeddings"):
                    continue
                raise ConvertError(f"model.safetensors: no tensor {theirs}.{part}")
            name = f"{ours}.{part}"
            is_matrix = data.ndim == 2 and name not in KEPT_IN_F32
            writer.add_tensor(name, data.astype(np.float16) if is_matrix else data)


def read_safetensors(path: Path) -> dict:
    """Name to f32 array. The format: u64 header length, JSON header, raw little-endian data."""
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    header_length = int(raw[:8].view("<u8")[0])
    header = json.loads(bytes(raw[8 : 8 + header_length]))
    data = raw[8 + header_length :]
    tensors = {}
    for name, entry in header.items():
        # Integer position ids are stored by some exporters; they are no weights.
        if name == "__metadata__" or entry["dtype"].startswith("I"):
            continue
        if entry["dtype"] != "F32":
            raise ConvertError(f"{path.name}: tensor {name} is {entry['dtype']}, not F32")
        start, end = entry["data_offsets"]
        tensors[name] = data[start:end].view("<f4").reshape(entry["shape"])
    return tensors


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("kind", choices=("llm", "encoder"))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    convert = {"llm": requantise, "encoder": write_encoder}[arguments.kind]
    # The file takes its name only when it is whole, so an interrupted run leaves no half model.
    part = arguments.out.with_name(arguments.out.name + ".part")
    try:
        convert(arguments.source, part)
        os.replace(part, arguments.out)
    except (ConvertError, OSError, ValueError, KeyError) as error:
        part.unlink(missing_ok=True)
        print(f"convert: {arguments.source.name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
