#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records what the packages `tokenizers` and `sentencepiece` make of texts, for tests/text.

  pip install tokenizers==0.23.3 sentencepiece==0.2.3
  KVANT_TEST_DATA=/path/to/data tests/golden/tokenizers/make.py

writes beside itself torture.txt (text that is hard to cut), one JSON file for each tokenizer, and features.json (small
tokenizers, inside the file, each with settings that the real ones do not use); and what trained.py lists.
"""
import json
import os
import random
from pathlib import Path

import tokenizers
import trained
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
DATA = Path(os.environ["KVANT_TEST_DATA"])
CHUNK = 64 * 1024
CHUNKS = 5


def dump(name, value):
    text = json.dumps(value, ensure_ascii=True, indent=1)
    (HERE / name).write_text(text + "\n", encoding="ascii")


def dump_rows(name, value):
    text = json.dumps(value).replace('{"name"', '\n{"name"').replace('{"text"', '\n {"text"')
    (HERE / name).write_text(text.replace('{"ids": [', '\n {"ids": [') + "\n")


def fnv1a64(ids):
    state = 0xCBF29CE484222325
    for byte in b"".join(i.to_bytes(4, "little") for i in ids):
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return f"{state:016x}"


def torture():
    rng = random.Random(20240607)
    blocks = [(0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x17F), (0x300, 0x36F), (0x391, 0x3C9), (0x410, 0x44F),
              (0x5D0, 0x5EA), (0x621, 0x64A), (0x660, 0x669), (0x905, 0x939), (0xE01, 0xE3A), (0x1E00, 0x1EFF),
              (0x2000, 0x206F), (0x2070, 0x2071), (0x2150, 0x2188), (0x2190, 0x22FF), (0x3000, 0x303F),
              (0x3041, 0x3096), (0x30A1, 0x30FA), (0x3220, 0x3243), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3),
              (0xE000, 0xE010), (0xFE00, 0xFE0F), (0xFF10, 0xFF19), (0x10000, 0x1000B), (0x1D400, 0x1D454),
              (0x1D7CE, 0x1D7FF), (0x1F1E6, 0x1F1FF), (0x1F600, 0x1F64F), (0x20000, 0x20100), (0xE0100, 0xE01EF)]
    snippets = [
        "", " ", "  ", "\n", "\r\n", "\r", "\t", " \n", "\n ", " \t ", "\u00a0", "\u3000", "\u180e", "\u2028", "\x85",
        "\x01\x02\x1b[0m", "\x7f", "\ufeff", "\u200b", "\u200d", "\ufffd", "it's", "IT'S", "we'LL they'd I'm 've 're",
        "don\u2019t", "'s's''", "1", "12", "123", "1234567890", "3.14159", "1,000,000", "0x1F", "1e-9", "\u00b2\u00bd",
        "caf\u00e9", "cafe\u0301", "a\u0300\u0301\u0302", "stra\u00dfe", "\u017f\u212a", "\ufb01",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "\U0001f1e9\U0001f1ea",
        "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627", "\u202eabc\u202c", "\u4f60\u597d\u3002",
        "\u3053\u3093\u306b\u3061\u306f", "\uc548\ub155", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "<|endoftext|>",
        "<|im_start|>user\n", "<|im_end|>", "<|im_end", "<s>", "</s>", "<unk>", "<0x0A>", "\u2581", "\u2581\u2581the",
        "\u0120the", "http://example.org/a?b=c&d=e#f", "foo_bar", "fooBarBaz", "i++;", "x = y[3]->z;", "/* ... */",
        "\\n", "\"quoted\"", "the", " the", "  the", "the ", "Once upon a time", "========", "--------", "....", "!!!???",
    ]
    parts = []
    for run in (2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 100, 257):
        for unit in (" ", "\n", "\t", "\r\n", "a", "A", "0", "=", "\u00e9", "\u4e2d", "\U0001f600", " a", "\u0301"):
            parts.append(unit * run)
            parts.append(rng.choice(snippets))
    while len("".join(parts).encode()) < 60_000:
        kind = rng.random()
        if kind < 0.5:
            parts.append(rng.choice(snippets))
        elif kind < 0.8:
            low, high = rng.choice(blocks)
            parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 12))))
        elif kind < 0.9:
            parts.append(rng.choice([" ", "  ", "\n", " \n  ", "\r\n\r\n", "\t"]))
        else:
            parts.append("".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(1, 30))))
    return "".join(parts)


STRINGS = [
    "", " ", "  ", "   ", "\n", "\r\n", "\t", "\n\n", " \n", "\n ", "a", " a", "a ", " a ", "  a  b  ", "Hello, world!",
    "Once upon a time, there was a little girl named Lily.", "it's we'll I'M they'VE 'tis", "don\u2019t", "1", "12345",
    "3.14 and 1,000", " 42", "\u00b2\u00bd\u0663", "caf\u00e9", "cafe\u0301", "na\u00efve stra\u00dfe",
    "\u4f60\u597d\uff0c\u4e16\u754c", "\u3053\u3093\u306b\u3061\u306f", "\uc548\ub155\ud558\uc138\uc694",
    "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627", "\U0001f600", " \U0001f600\U0001f600",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f",
    "\u202eabc\u202c", "\ufeffx", "a\x00b", "\x1b[31m", "\x7f\x80\x85", "\u00a0x", "a\u3000b", "\u180e",
    "x\u2028y", "<s>", "</s>", "<s>hi</s>", " <s> hi ", "<|endoftext|>",
    "a<|endoftext|>b", "<|im_start|>user\nHi<|im_end|>\n", "<|im_start", "<unk>", "<0x41>", "<0x0A>\n", "\u2581",
    "\u2581a \u2581",
    "\u0120the", "if (x) {\n    return y;\n}\n", "http://example.org/?q=1&r=2", "foo_bar-baz.qux", "\\\"\\\\", "a" * 100,
    " " * 100, "ab" * 50, "\u0301\u0301", "\U0010ffff", "\ue000",
]


def real(name, path, label):
    tok = Tokenizer.from_file(str(path))
    rng = random.Random(name)
    size = tok.get_vocab_size()
    texts = []
    sources = [DATA / "text" / f for f in ("wikitext2.valid.txt", "wikitext2-raw.test.txt", "tinystories_1000.json")]
    for source in sources:
        data = source.read_bytes()
        cuts = [0]
        while len(cuts) <= CHUNKS:
            cut = cuts[-1] + CHUNK
            while data[cut] & 0xC0 == 0x80:
                cut += 1
            cuts.append(cut)
        for begin, end in [*zip(cuts, cuts[1:]), (0, cuts[-1])]:
            ids = tok.encode(data[begin:end].decode()).ids
            texts.append({"file": f"text/{source.name}", "begin": begin, "bytes": end - begin, "ids": len(ids),
                          "fnv1a64": fnv1a64(ids)})
    data = (HERE / "torture.txt").read_bytes()
    cuts = [0, *(i for i in range(1, len(data)) if i % 4096 == 0), len(data)]
    for i, cut in enumerate(cuts[1:-1], 1):
        while data[cuts[i]] & 0xC0 == 0x80:
            cuts[i] += 1
    for begin, end in [*zip(cuts, cuts[1:]), (0, len(data))]:
        ids = tok.encode(data[begin:end].decode()).ids
        texts.append({"file": "torture.txt", "begin": begin, "bytes": end - begin, "ids": len(ids),
                      "fnv1a64": fnv1a64(ids)})
    strings = []
    for text in STRINGS:
        ids = tok.encode(text).ids
        strings.append({"text": text, "ids": ids, "decoded": tok.decode(ids),
                        "decoded_whole": tok.decode(ids, skip_special_tokens=False)})
    decoded = []
    for _ in range(20):
        ids = [rng.randrange(size + 3) for _ in range(rng.randint(1, 12))]
        decoded.append({"ids": ids, "text": tok.decode(ids), "whole": tok.decode(ids, skip_special_tokens=False)})
    dump(f"{name}.json", {"made_with": f"tokenizers {tokenizers.__version__}", "tokenizer": label, "size": size,
                          "texts": texts, "strings": strings, "decoded": decoded})


def added(ident, content, *flags):
    names = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {"id": ident, "content": content, **{n: n in flags for n in names}}


def byte_level(prefix_space=False, regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": True, "use_regex": regex}


def split(pattern, behavior="Isolated", invert=False):
    kind = "Regex" if isinstance(pattern, str) else "String"
    return {"type": "Split", "pattern": {kind: pattern if kind == "Regex" else pattern[0]}, "behavior": behavior,
            "invert": invert}


def sequence(kind, *steps):
    return {"type": "Sequence", kind: list(steps)}


def alphabet():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    chars = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    return [chars[b] for b in range(256)]


def tokenizer(vocab, merges, **parts):
    model_keys = ("unk_token", "fuse_unk", "byte_fallback", "ignore_merges")
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
             **{k: v for k, v in parts.items() if k in model_keys}, "vocab": {t: i for i, t in enumerate(vocab)},
             "merges": merges}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None,
            **{k: v for k, v in parts.items() if k not in model_keys}, "model": model}


def of_model(model, **parts):
    return {**tokenizer([], [], **parts), "model": model}


def bert_cases():
    """WordPiece and what comes with it. Characters are those of Unicode 8, that of the tables of `tokenizers`."""
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "a", "##a", "aa", "##aa", "b", "c", "##c", "##b",
             "is", "n", "##t", "'", "t", "##'", "do", "not", ".", "?", ",", "!", "s", "ve", "re", "m", "\u4e2d", "\u00e9",
             "e", "##\u0301", "##", "#", "x", "n't", "'s", "\u0627", "-", "12", "##3", "_"]
    texts = ["", " ", "unaffable", "unaffableb", "aaaaa", "abc", "a b  c", "Unaffable A\u00c9e\u0301", "isn't do not 's", "a.b?c!",
             "\u4e2d\u4e2da", "a\u00a0b\u3000c\u2028a", "a\x00b\ufffdc\x85a\u200bb\u00adc", "\ta\nb\r", "xxxxx", "xxxxxx",
             "##", "###", "[CLS]a[SEP]", "a[MASK] b", "\u0130\u01c5\u03a3", "a\u0301\u0323b", "\ue000a", "\u2014a\u00abb\u00bb\u3001",
             "12312 a_b a-b", "$a^b`c~a+b<c>", "\u0627\u064e\u0644", "\u0928\u093f", "x \ud55c", "do not isn't x've x're x'm x's ."]

    def word_piece(limit=5, prefix="##", **parts):
        return of_model({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": prefix,
                         "max_input_chars_per_word": limit, "vocab": {t: i for i, t in enumerate(vocab)}},
                        **{"pre_tokenizer": {"type": "BertPreTokenizer"}, **parts})

    def bert(clean=True, chinese=True, accents=None, lower=True):
        return {"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": accents,
                "lowercase": lower}

    def decoder(cleanup, prefix="##"):
        return {"type": "WordPiece", "prefix": prefix, "cleanup": cleanup}

    around = {"sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    untyped = word_piece(100)
    del untyped["model"]["type"]
    parts = {"wordpiece": word_piece(decoder=decoder(False)), "wordpiece_long_words": word_piece(9, decoder=decoder(True)),
             "wordpiece_without_type": untyped, "wordpiece_no_prefix": word_piece(100, "", decoder=decoder(True, "")),
             "wordpiece_other_prefix": word_piece(100, "#", decoder=decoder(True, "#")),
             "wordpiece_fused_decoder": word_piece(100, decoder=sequence("decoders", {"type": "Fuse"}, decoder(True))),
             "bert_processing": word_piece(post_processor={"type": "BertProcessing", **around}),
             "roberta_processing": word_piece(post_processor=sequence("processors", {
                 "type": "RobertaProcessing", **around, "trim_offsets": True, "add_prefix_space": False}))}
    for name, normalizer in {"bert_uncased": bert(), "bert_cased": bert(lower=False), "bert_accents": bert(accents=False),
                             "bert_stripped": bert(accents=True, lower=False), "bert_unclean": bert(False),
                             "bert_chinese_together": bert(chinese=False), "bert_none": bert(False, False, False, False)}.items():
        parts[name] = word_piece(100, normalizer=normalizer, decoder=decoder(True), added_tokens=[
            added(2, "[CLS]", "special"), added(3, "[SEP]", "special"), added(len(vocab), "[MASK]", "special", "lstrip")])
    for kind in ("Whitespace", "WhitespaceSplit"):
        parts[kind] = word_piece(100, pre_tokenizer={"type": kind})
    parts["CharDelimiterSplit"] = word_piece(100, pre_tokenizer={"type": "CharDelimiterSplit", "delimiter": "a"})
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        parts[f"Punctuation_{behavior}"] = word_piece(100, pre_tokenizer={"type": "Punctuation", "behavior": behavior})
    parts["Punctuation"] = word_piece(100, pre_tokenizer=sequence(
        "pretokenizers", {"type": "WhitespaceSplit"}, {"type": "Punctuation"}, {"type": "Digits", "individual_digits": True}))
    return {name: (config, texts) for name, config in parts.items()}


def unigram_cases():
    vocab = [["<unk>", 0.0], ["a", -2.0], ["b", -2.5], ["ab", -3.75], ["aa", -4.0], ["aaa", -6.0], ["ba", -4.25],
             ["\u2581", -1.0], ["\u2581a", -2.75], ["\u2581b", -3.1234567890123457], [".", -2.0122928619384766],
             ["...", -3.0122928619384761], ["\u00e9", -7.0], ["<s>", 0.0], ["cd", 1.5], ["x", -9.5]]
    data = [[f"<0x{b:02X}>", -20.0 - b / 7] for b in range(256)]
    texts = ["", " ", "a", "aaaa", "aaaaaaa", "ababab", "abba  ba", "....", ".......", "caab", "cdcd", "c", "cc", "acca", "<unk>",
             "a<unk>b", "c<unk>", "<unk>c", "<unk><unk>", "<s>a", "\u00e9\u4e2d", "\u4e2d\U0001f600a", "a\n\tb", "\u2581\u2581a", "xaxcx",
             "<0x41>", "\x00a", "a b a b"]

    def unigram(pieces, unk=0, fallback=None, **parts):
        model = {"type": "Unigram", "unk_id": unk, "vocab": pieces}
        return of_model(model if fallback is None else {**model, "byte_fallback": fallback}, **parts)

    meta = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    t5 = sequence("pretokenizers", {"type": "WhitespaceSplit"}, meta)
    untyped = unigram(vocab)
    del untyped["model"]["type"]
    bytes_decoder = sequence("decoders", {"type": "ByteFallback"}, {"type": "Fuse"})
    parts = {"unigram": unigram(vocab), "unigram_t5": unigram(vocab, pre_tokenizer=t5, decoder=meta),
             "unigram_without_type": untyped, "unigram_other_unk": unigram(vocab, 1, decoder={"type": "Fuse"}),
             "unigram_fallback": unigram(vocab + data, 0, True, decoder=bytes_decoder),
             "unigram_fallback_off": unigram(vocab + data, 0, False, decoder=bytes_decoder),
             "unigram_fallback_with_gaps": unigram(vocab + data[:0xAD] + data[0xAE:], 0, True, decoder=bytes_decoder),
             "unigram_twice": unigram(vocab + [["a", -1.0], ["<unk>", -3.0]], added_tokens=[
                 added(len(vocab) + 1, "<unk>", "special")])}
    return {name: (config, texts) for name, config in parts.items()}


def features():
    letters = list("abcdest '.,!0123459\n\r\t") + ["\u2581", "\u00e9", "\u4e2d"]
    chars = ["<unk>", *letters]
    rules = [["a", "b"], ["ab", "c"], ["t", "e"], ["te", "s"], ["tes", "t"], [" ", "a"], ["1", "2"], ["12", "3"],
             ["\u2581", "a"], ["\u2581", "t"], ["a", "a"], ["aa", "aa"], ["e", "s"]]
    words = chars + [a + b for a, b in rules]
    bytes_vocab = ["<unk>", *(f"<0x{b:02X}>" for b in range(256)), *letters[:10], "\u2581", "ab", "\u2581a"]
    byte_rules = [["a", "b"], ["\u2581", "a"]]
    level = alphabet()
    level_rules = ["\u0120 t", "h e", "\u0120t he", "i n", "\u00c3 \u00a9", "1 2", "12 3", "\u0120 \u0120",
                   "\u0120\u0120 \u0120\u0120", "\u00f0 \u0141", "' s"]
    level_words = level + [r.replace(" ", "") for r in level_rules]
    cl100k = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
              r"|\s+(?!\S)|\s+")
    o200k = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
             r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
             r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    plain = ["", "a", "abc", "abctest", " a b  c ", "tests, 1234!", "aaaaaaa", "a.b,c", "x", "xx", "axxb",
             "\u00e9\u4e2d\U0001f600", "a\nb\r\nc", "it's  123\t", "<s>abc</s>", "a <s> b", "foo", "afoob a foo b",
             "\u2581a"]
    hard = [*plain, "IT'S the cafe\u0301  \n\n  12345 \u180e \u2028x", "\U0001f468\u200d\U0001f469 \u0663\u00b2",
            "don't DON'T we'LL \u017f'\u017f", "   ", "\r\n \r\n", "!?\n/x", "HelloWorld helloWORLD \u01c5x",
            "\u2167 \u24b6 _ -"]
    template = {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "S", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                           {"SpecialToken": {"id": "E", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"S": {"id": "S", "ids": [1, 2], "tokens": ["a", "b"]},
                                   "E": {"id": "E", "ids": [3], "tokens": ["c"]}}}
    n = len(words)
    llama = sequence("normalizers", {"type": "Prepend", "prepend": "\u2581"},
                     {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"})
    llama_decoder = sequence("decoders", {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                             {"type": "ByteFallback"}, {"type": "Fuse"},
                             {"type": "Strip", "content": " ", "start": 1, "stop": 0})
    possessive = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
                  r"|\s*[\r\n]|\s+(?!\S)|\s")
    deepseek = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
                r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

    def replace(kind, pattern, content):
        return {"type": "Replace", "pattern": {kind: pattern}, "content": content}

    def spelled(**parts):
        return tokenizer(words, rules, unk_token="<unk>", **parts)

    def level_with(*steps, **parts):
        return tokenizer(level_words, level_rules, pre_tokenizer=sequence("pretokenizers", *steps), decoder=byte_level(),
                         **parts)

    def fallback(vocab, **parts):
        return tokenizer(vocab, byte_rules, byte_fallback=True, unk_token="<unk>", decoder=llama_decoder, **parts)

    # Characters that Unicode has had since version 9, that of the tables of `tokenizers`.
    forms = ["", "a", "\u00e9 e\u0301 e\u0301\u0323 \u1ec7 \u212b", "\u0301\u0323x \u0323\u0301",
             "Ti\u1ebfng Vi\u1ec7t tie\u0302\u0301ng Vie\u0323\u0302t u\u031b\u01a1",
             "\ud55c\uad6d\uc5b4 \u1100\u1161\u11a8\u1100\u1161", "\uac00\u11a7\uac00\u11a8\u1161",
             "\u0958 \u0915\u093c \u0b95\u0bc6\u0bbe \u0f71\u0f72\u0f74",
             "\ufb01\u2460\u00bd\u00b2 \uff71\uff9e\u30f4\u30a6\u3099 \ufdfa",
             "\U0001f468\u200d\U0001f469 \u2764\ufe0f \U0001f1e9\U0001f1ea", "\U0001d15e\U0001d400 \U0002f800\uf900",
             "a\x00e\u0301\x00", "\x00", "\u0130I\u0131 \u03a3\u03b1\u03a3 \u1e9e \u01c5 \u2126",
             "  \u00a0a \u3000\n", " \u3000", "\u0301",
             "o\u0308\u0304\u0328\u0301 q\u0307\u0323\u0307", "<s>e\u0301 E\u0301"]

    def normalized(*steps):
        return fallback(bytes_vocab, normalizer=sequence("normalizers", *({"type": s} if isinstance(s, str) else s
                                                                          for s in steps)),
                        added_tokens=[added(len(bytes_vocab), "<s>", "special"),
                                      added(len(bytes_vocab) + 1, "E\u0301", "normalized")])

    def strip(left, right):
        return {"type": "Strip", "strip_left": left, "strip_right": right}

    # Merges across the visible space tell where words were cut.
    meta_vocab = [*(f"<0x{b:02X}>" for b in range(256)), *"ab_\u2581", "\u2581a", "a\u2581",
                  "\u2581\u2581", "ab", "_a", "a_"]
    meta_rules = [["\u2581", "a"], ["a", "\u2581"], ["\u2581", "\u2581"], ["a", "b"], ["_", "a"], ["a", "_"]]
    spaced = ["", " ", "   ", "a", " a", "  a  b  ", "a b", "\u2581a a\u2581 \u2581", "a_ _a", "\ta\n a",
              "\u00a0a \u3000b", "Ti\u1ebfng Vi\u1ec7t tie\u0302\u0301ng", "\ud55c\uad6d\uc5b4 \u1100\u1161\u11a8",
              " \u0301a e\u0301", "\U0001f44d\U0001f3fd a \u2764\ufe0f", "<s>", "<s>a", "<s> a", "a<s>a", "a <s> a",
              " <s>a", "xyza", "a xyz a", "xyz xyz", "``a``", "a``a a", "\x00a \x00"]

    def metaspace(scheme, split=True, replacement="\u2581"):
        return {"type": "Metaspace", "replacement": replacement, "prepend_scheme": scheme, "split": split}

    def meta(pre_tokenizer, **parts):
        n = len(meta_vocab)
        return tokenizer(meta_vocab, meta_rules, byte_fallback=True, pre_tokenizer=pre_tokenizer, added_tokens=[
            added(n, "<s>", "special"), added(n + 1, "xyz", "lstrip", "rstrip")], **parts)

    whole = byte_level(False, False)
    cases = {
        "bare": (tokenizer(words, rules), plain),
        "unknown": (spelled(), plain),
        "unknown_fused": (spelled(fuse_unk=True), plain),
        "ignore_merges": (tokenizer([*words, "abctest", "b c"], rules, ignore_merges=True, unk_token="<unk>",
                                    pre_tokenizer=split(r"\s+")), plain),
        "later_rule_of_a_pair_counts": (tokenizer(words, [*rules, ["a", "b"]], unk_token="<unk>"), plain),
        "byte_fallback": (fallback(bytes_vocab, normalizer=llama), hard),
        "byte_fallback_with_gaps": (fallback([t for t in bytes_vocab if t != "<0xA9>"]), hard),
        "template": (spelled(post_processor=template, decoder={"type": "Fuse"}), plain),
        "template_in_sequence": (spelled(post_processor=sequence("processors", byte_level(), template)), plain),
        "added_tokens": (spelled(normalizer=replace("String", "c", "d"), decoder={"type": "Fuse"}, added_tokens=[
            added(n, "<s>", "special", "lstrip"), added(n + 1, "</s>", "special", "rstrip"),
            added(n + 2, "foo", "single_word"), added(n + 3, "a.b", "normalized"), added(n + 4, "fo"),
            added(n + 5, "bc", "normalized", "lstrip", "rstrip")]), hard),
        "added_spaces": (spelled(added_tokens=[
            added(n, "  "), added(n + 1, "   "), added(words.index("\n"), "\n", "lstrip", "rstrip"),
            added(words.index(" "), " ", "lstrip", "rstrip")]), hard),
        "gpt2": (level_with(byte_level()), hard),
        "prefix_space": (level_with(byte_level(True), added_tokens=[added(len(level_words), "<s>", "special")]), hard),
        "prefix_space_per_word": (level_with(split(r"[.,]"), byte_level(True, False)), hard),
        "cl100k": (level_with(split(cl100k), whole), hard),
        "cl100k_possessive": (level_with(split(possessive), whole), hard),
        "o200k": (level_with(split(o200k), whole), hard),
        "deepseek": (level_with(split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
                                split(deepseek), whole), hard),
        "digits_alone": (spelled(pre_tokenizer={"type": "Digits", "individual_digits": True}), hard),
        "digits_together": (spelled(pre_tokenizer={"type": "Digits", "individual_digits": False}), hard),
        "split_string_with_dot": (spelled(pre_tokenizer=split((".",))), plain),
        "replace_regex": (spelled(normalizer=replace("Regex", r"\s+|x", "\u2581")), plain),
        "decode_strip": (spelled(decoder=sequence(
            "decoders", {"type": "Strip", "content": "a", "start": 2, "stop": 0}, replace("String", "e", "ee"))), plain),
        "anchors_and_empty_matches": (spelled(pre_tokenizer=sequence(
            "pretokenizers", split(r"^a|$"), split(r"b*"))), hard),
    }
    for name, steps in {"nfc": ["NFC"], "nfd": ["NFD"], "nfkc": ["NFKC"], "nfkd": ["NFKD"], "lowercase": ["Lowercase"],
                        "without_accents": ["NFD", "StripAccents", "NFC"], "nfkc_lowercase": ["NFKC", "Lowercase"],
                        "strip_left": [strip(True, False)], "strip_right": [strip(False, True)],
                        "strip": [strip(True, True), "NFD"]}.items():
        cases[name] = (normalized(*steps), forms)
    for scheme in ("always", "never", "first"):
        for cut in (False, True):
            step = metaspace(scheme, cut)
            cases[f"metaspace_{scheme}{'_split' if cut else ''}"] = (meta(step, decoder=step), spaced)
        step = metaspace(scheme)
        cases[f"metaspace_{scheme}_after_cuts"] = (
            meta(sequence("pretokenizers", split(r"b+|\u0301"), step, metaspace(scheme, False, "_")),
                 normalizer=sequence("normalizers", {"type": "NFD"}, replace("String", "``", "b"), strip(True, False)),
                 decoder=sequence("decoders", {"type": "ByteFallback"}, step, metaspace("always", True, "_"))), spaced)
    cases["metaspace_llama"] = (meta(metaspace("first", False), decoder=llama_decoder), spaced)
    cases["metaspace_old"] = (meta({"type": "Metaspace", "replacement": "_", "str_rep": "_", "add_prefix_space": True},
                                   decoder=sequence("decoders", {"type": "Fuse"}, metaspace("first"))), spaced)
    cases |= bert_cases() | unigram_cases()
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            name = f"split_{behavior}{'_inverted' if invert else ''}"
            cases[name] = (spelled(pre_tokenizer=split(r"[a ]", behavior, invert)), plain)
    recorded = []
    for name, (config, texts) in cases.items():
        text = json.dumps(config, ensure_ascii=False)
        tok = Tokenizer.from_str(text)
        rows = []
        for t in texts:
            ids = tok.encode(t).ids
            plain_ids = tok.encode(t, add_special_tokens=False).ids
            decoded, whole = tok.decode(ids), tok.decode(ids, skip_special_tokens=False)
            rows.append({"text": t, "ids": ids, "decoded": decoded, **({"plain": plain_ids} if plain_ids != ids else {}),
                         **({"decoded_whole": whole} if whole != decoded else {})})
        recorded.append({"name": name, "tokenizer_json": text, "cases": rows})
    dump_rows("features.json", {"made_with": f"tokenizers {tokenizers.__version__}", "tokenizers": recorded})


def main():
    (HERE / "torture.txt").write_bytes(torture().encode())
    real("smollm2", DATA / "tokenizer/smollm2_tokenizer.json", "data:tokenizer/smollm2_tokenizer.json")
    real("stories260k", DATA / "lm/stories260K-hf/tokenizer.json", "data:lm/stories260K-hf/tokenizer.json")
    real("tiny", ROOT / "models/tiny/tokenizer.json", "source:models/tiny/tokenizer.json")
    features()
    pieces, recorded = trained.main(STRINGS, fnv1a64)
    dump("multilingual.json", pieces)
    dump_rows("trained.json", recorded)


if __name__ == "__main__":
    main()
