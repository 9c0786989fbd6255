# SPDX-License-Identifier: Apache-2.0
"""Small tokenizers of every kind, trained here; what the packages `tokenizers` and `sentencepiece` make of text with
them. make.py runs this; it writes

  multilingual.json   pieces of text in many scripts, of which megabyte() makes a long text
  trained/            the tokenizers: tokenizer.json of Hugging Face, tokenizer.model of SentencePiece
  trained/NAME.ids    the ids of the end of torture.txt (its last 16 KiB), 16 bits each, little-endian
  trained.json        the number and the hash of the ids of all of it and of the long text; short strings with their ids
                      and texts
"""
import collections
import io
import json
import random
import tempfile
from pathlib import Path

import sentencepiece
import tokenizers
from tokenizers import (Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
OUT = HERE / "trained"

PIECES = [
    # Latin, with and without accents
    "The quick brown fox jumps over the lazy dog", "it's", "we'll", "don't", "they've", "I'm", "isn't", "do not",
    "weights of a layer", "rounded to the nearest level", "and the scale is stored first", "quantization",
    "Les élèves ont déjà mangé à la cantine", "l'été", "où", "Ça va très bien", "garçon", "naïve", "cœur",
    "Größe und Maß der Straße", "Übung", "äöüß", "El niño comió una manzana", "¿Qué hora es?", "¡Sí, mañana!",
    "São Paulo não é a capital", "coração", "Zażółć gęślą jaźń", "Příliš žluťoučký kůň", "Đặng Tiếng Việt rất hay",
    "Vie\u0302\u0323t", "Öğrenci İstanbul'da ışık arıyor", "Ærø og Åse", "smørrebrød", "þetta er íslenska",
    # Greek, Cyrillic, Armenian, Georgian
    "Η γάτα κοιμάται στον ήλιο", "Ἀρχιμήδης", "ΣΟΦΟΣ σοφός", "Кошка спит на солнце", "ёжик", "Київ — столиця України",
    "Љубав и мир", "Բարեւ աշխարհ", "გამარჯობა მსოფლიო",
    # Hebrew, Arabic and its relatives: right to left
    "שלום לכולם", "שָׁלוֹם", "مرحبا بالعالم", "السَّلَامُ عَلَيْكُمْ", "سلام دنیا می\u200cخواهم", "اردو زبان",
    # Brahmi's relatives
    "नमस्ते दुनिया", "क्षत्रिय ज्ञान श्री", "বাংলা ভাষা", "ਪੰਜਾਬੀ", "ગુજરાતી", "தமிழ் மொழி", "తెలుగు", "ಕನ್ನಡ", "മലയാളം",
    "සිංහල", "สวัสดีชาวโลก", "ภาษาไทย", "ພາສາລາວ", "မြန်မာဘာသာ", "ភាសាខ្មែរ", "བོད་སྐད་",
    # Chinese, Japanese, Korean
    "我们今天去公园散步。", "漢字と仮名交じり文", "こんにちは、世界！", "カタカナ", "ｶﾀｶﾅ", "ヴァイオリン", "か\u3099", "㍻㌔",
    "안녕하세요 세계", "한국어", "\u1112\u1161\u11ab", "𠮷野家", "々〆〇",
    # Ethiopic, Cherokee, Mongolian, Canadian syllabics
    "ሰላም ዓለም", "ᏣᎳᎩ", "ᠮᠣᠩᠭᠣᠯ", "ᐃᓄᒃᑎᑐᑦ",
    # numbers
    "1", "42", "1234567890", "3.14159", "1,000,000", "٣٤٥", "१२३", "Ⅷ", "½", "x²", "①②", "１２３",
    # signs
    ".", ",", "!", "?", "...", "\u2026", "--", "\u2014", "\"quoted\"", "\u201cquoted\u201d", "(a+b)*c", "€5", "50%", "a_b",
    "https://example.org/path?x=1&y=2", "user@example.org", "x = y[3];", "#include <vector>", "``code``", "\u3001", "\u300c\u300d",
    "\u060c", "\u0964", "\ufe50", "\uff0c", "\u00ab\u00bb", "\u2581", "##ing", "<unk>", "<s>", "[SEP]", "<0x41>",
    # emoji
    "\U0001f600", "\u2764\ufe0f", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\u26f9\U0001f3ff\u200d\u2642\ufe0f",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    # marks alone and in piles, compatibility characters
    "e\u0301", "\u0301", "a\u0308\u0323\u0304", "q\u0307\u0323", "\u0323\u0301", "\ufb01\ufb03", "\u2126\u212b", "\ufdfa", "\U0001d400\U0001d41b\U0001d7d9",
    "\u1e9b\u0323", "\u0344", "\u0f73", "\u2f00", "\uf900", "\u320e", "\u00a8", "\u037e",
    # control, format, private, unassigned characters, and those at the edges of what UTF-8 may hold
    "\x01", "\x1b[0m", "\x7f", "\x85", "\u00ad", "\u200b", "\u200e", "\u2060", "\ufeff", "\ufffd", "\ue000", "\uffff",
    "\U0010ffff", "\u07ff\u0800", "\ud7ff\ue001", "\U00010000", "\x00", "\u0378",
]
JOINTS = [" ", " ", " ", " ", " ", " ", "", "", "  ", "\n", "\n\n", "\r\n", "\t", ", ", ". ", "-", "'", "\u00a0",
          "\u3000", "\u2028"]


def long_text(size, state):
    """The first pieces of a linear congruential sequence whose bytes are `size` or more. The C++ test does the same."""
    parts, total = [], 0
    while total < size:
        for choices in (PIECES, JOINTS):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            part = choices[(state >> 33) % len(choices)]
            parts.append(part)
            total += len(part.encode())
    return "".join(parts)


def corpus():
    pages = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))]
    text = "\n".join([*pages, long_text(300_000, 7), (HERE / "torture.txt").read_bytes().decode()])
    return [line for line in text.replace("\x00", "").split("\n") if line.strip()]


def sentencepiece_model(name, lines, **settings):
    sentencepiece.set_random_generator_seed(1)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, minloglevel=2, num_threads=1, max_sentence_length=1 << 20,
        **settings)
    (OUT / f"{name}.model").write_bytes(model.getvalue())
    return model.getvalue()


def train_sentencepiece(lines):
    """Like Llama 2, and like T5 and XLM-R."""
    sentencepiece_model(
        "bpe", lines, model_type="bpe", vocab_size=1200, byte_fallback=True, split_digits=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.99,
        user_defined_symbols=["<mask>", "quick brown", "\u2581\u2581"], control_symbols=["<ctl>"])
    sentencepiece_model(
        "unigram", lines, model_type="unigram", vocab_size=1500, normalization_rule_name="nmt_nfkc",
        character_coverage=0.985, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, user_defined_symbols=["<extra_0>", "fox"])


def small_charsmap(lines):
    """A charsmap of a few rules, as Precompiled holds it in base64."""
    rules = {"\ufb01": "fi", "\ufb03": "ffi", "\u00a0": " ", "\u3000": " ", "\t": " ", "\n": " ", "\r": " ",
             "e\u0301": "\u00e9", "E\u0301": "\u00c9", "\u2126": "\u03a9", "\u212b": "\u00c5", "\u00ad": "", "\u200b": "",
             "\uff76": "\u30ab", "\uff76\uff9e": "\u30ac", "\u304b\u3099": "\u304c", "\u2026": "...", "\u00bd": "1\u20442", "\x01": "",
             "\u0308": "\u00a8", "\U0001d400": "A", "\u320e": "(\uac00)", "\r\n": "\u21b5", "\u0600": "no"}
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as tsv:
        for source, target in rules.items():
            tsv.write(" ".join(f"{ord(c):X}" for c in source) + "\t" + " ".join(f"{ord(c):X}" for c in target) + "\n")
        tsv.flush()
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines[:200]), model_writer=model, minloglevel=2, model_type="char", vocab_size=50,
            hard_vocab_limit=False, character_coverage=0.98, normalization_rule_tsv=tsv.name)
    data = model.getvalue()
    proto = dict(fields(data))
    return dict(fields(proto[3]))[2]


def fields(message):
    """The fields of a protobuf message, numbers and bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
            continue
        size = varint() if tag & 7 == 2 else {1: 8, 5: 4}[tag & 7]
        yield tag >> 3, message[at:at + size]
        at += size


CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")


def byte_level(name, lines, normalizer, pre_tokenizer, post_processor, special, **model):
    tok = Tokenizer(models.BPE(**model))
    if normalizer is not None:
        tok.normalizer = normalizer
    tok.pre_tokenizer = pre_tokenizer
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=1000, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    if post_processor is not None:
        tok.post_processor = post_processor(tok)
    tok.save(str(OUT / f"{name}.json"), pretty=False)


def train_byte_level(lines):
    split = lambda pattern: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                                     pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    begin = lambda tok: processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair=None, special_tokens=[("<|begin_of_text|>",
                                                                   tok.token_to_id("<|begin_of_text|>"))])])
    byte_level("gpt2", lines, None, pre_tokenizers.ByteLevel(add_prefix_space=False),
               lambda tok: processors.ByteLevel(trim_offsets=False), ["<|endoftext|>"])
    byte_level("llama3", lines, None, split(CL100K), begin, ["<|begin_of_text|>", "<|eot_id|>"], ignore_merges=True)
    byte_level("qwen2", lines, normalizers.NFC(), split(QWEN2), lambda tok: processors.ByteLevel(trim_offsets=False),
               ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def train_bert(lines):
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer()
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tok.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tok.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=1500, limit_alphabet=300, special_tokens=special,
                                                             show_progress=False))
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(t, tok.token_to_id(t)) for t in ("[CLS]", "[SEP]")])
    tok.save(str(OUT / "bert.json"), pretty=False)


def frequent(lines, count):
    """The lines without all but the `count` most frequent characters: the trainer of Unigram keeps every one."""
    known = {c for c, _ in collections.Counter("".join(lines)).most_common(count)}
    return ["".join(c for c in line if c in known) for line in lines]


def train_unigram(lines):
    """Like T5, and like the tokenizers of SentencePiece models with byte fallback."""
    lines = frequent(lines, 350)
    tok = Tokenizer(models.Unigram())
    tok.normalizer = normalizers.Sequence([normalizers.Precompiled(small_charsmap(lines)),
                                           normalizers.Replace(Regex(" {2,}"), " ")])
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tok.decoder = decoders.Metaspace()
    tok.train_from_iterator(lines, trainers.UnigramTrainer(vocab_size=1000, special_tokens=["<pad>", "</s>", "<unk>"],
                                                           unk_token="<unk>", show_progress=False))
    tok.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>",
                                                       special_tokens=[("</s>", tok.token_to_id("</s>"))])
    tok.save(str(OUT / "t5.json"), pretty=False)

    byte_tokens = [f"<0x{b:02X}>" for b in range(256)]
    tok = Tokenizer(models.Unigram())
    tok.normalizer = normalizers.NFKC()
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    tok.train_from_iterator(lines[::3], trainers.UnigramTrainer(vocab_size=800, special_tokens=["<unk>", "<s>"],
                                                                unk_token="<unk>", show_progress=False))
    config = json.loads(tok.to_str())
    config["model"]["byte_fallback"] = True
    config["model"]["vocab"] += [[token, -30.0] for token in byte_tokens]
    tok = Tokenizer.from_str(json.dumps(config))
    tok.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    tok.save(str(OUT / "unigram_bytes.json"), pretty=False)


def train_metaspace_bpe(lines):
    tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    words = [w for line in lines for w in line.split(" ")]
    tok.train_from_iterator(words, trainers.BpeTrainer(vocab_size=1200, special_tokens=special, limit_alphabet=200,
                                                       show_progress=False))
    config = json.loads(tok.to_str())
    config["added_tokens"] = config["added_tokens"][:3]
    tok = Tokenizer.from_str(json.dumps(config))
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    tok.save(str(OUT / "llama2.json"), pretty=False)


def record(name, file, encode, decode, size, strings, hash_of):
    torture = (HERE / "torture.txt").read_bytes()
    cut = len(torture) - (16 << 10)
    while torture[cut] & 0xC0 == 0x80:
        cut += 1
    end = encode(torture[cut:].decode())
    (OUT / f"{name}.ids").write_bytes(b"".join(i.to_bytes(2, "little") for i in end))
    rng = random.Random(name)
    decoded = [[rng.randrange(size) for _ in range(rng.randint(1, 12))] for _ in range(20)]
    long, whole = encode(long_text(1 << 20, 1)), encode(torture.decode())
    return {"name": name, "file": file, "size": size,
            "megabyte": {"ids": len(long), "fnv1a64": hash_of(long)},
            "torture": {"ids": len(whole), "fnv1a64": hash_of(whole), "end": cut,
                        "decoded": hash_of(list(decode(whole).encode()))},
            "strings": [{"text": t, "ids": (ids := encode(t)), "decoded": decode(ids)} for t in strings],
            "decoded": [{"ids": ids, "text": decode(ids)} for ids in decoded]}


def main(strings, hash_of):
    """What becomes of multilingual.json and trained.json."""
    OUT.mkdir(exist_ok=True)
    lines = corpus()
    train_sentencepiece(lines)
    train_byte_level(lines)
    train_bert(lines)
    train_unigram(lines)
    train_metaspace_bpe(lines)
    strings = [*strings, *PIECES[::7], "  two  spaces  ", "unaffable, isn't it? I do not 've it's n't .", "<mask>quick brown fox<extra_0>"]
    rows = []
    for path in sorted([*OUT.glob("*.json"), *OUT.glob("*.model")]):
        if path.suffix == ".json":
            tok = Tokenizer.from_file(str(path))
            encode, size = lambda text: tok.encode(text).ids, tok.get_vocab_size()
        else:
            tok = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
            encode, size = tok.encode, tok.get_piece_size()
        rows.append(record(path.stem, path.name, encode, tok.decode, size, strings, hash_of))
    recorded = {"made_with": f"tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}",
                "tokenizers": rows}
    return {"pieces": PIECES, "joints": JOINTS}, recorded
