"""Tiny vocabularies for random models: byte-level BPE and SentencePiece-like, as `tokenizer.ggml.*` metadata."""

from collections import Counter

from gguf import TokenType

TEXT = (
    "the cat sat on the mat and the dog ran to the old house near the river because it was late in the day "
    "and there was no one there to tell them that the rain had stopped or that the sun would be out again "
)
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\n'}}{% endif %}"
)


def byte_symbols():
    """GPT-2's printable stand-in of every byte, in order of the bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(b) if b in printable else chr(next(others)) for b in range(256)]


def most_frequent_pair(words):
    pairs = Counter()
    for word, count in words.items():
        for pair in zip(word, word[1:]):
            pairs[pair] += count
    return max(pairs, key=lambda pair: (pairs[pair], pair))


def merge_pair(word, pair):
    out = []
    for symbol in word:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return tuple(out)


def train_merges(space, n_merges):
    """Byte-pair merges (Sennrich et al. 2016) of TEXT, words beginning with `space`."""
    words = Counter(tuple(space + word) for word in TEXT.split())
    merges = []
    for _ in range(n_merges):
        merges.append(most_frequent_pair(words))
        words = Counter({merge_pair(word, merges[-1]): count for word, count in words.items()})
    return merges


def add_bpe(writer, n_vocab):
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    symbols = byte_symbols()
    merges = train_merges(symbols[ord(" ")], n_vocab - len(special) - len(symbols))
    tokens = special + symbols + ["".join(pair) for pair in merges]
    assert len(set(tokens)) == n_vocab
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * len(special) + [TokenType.NORMAL] * (n_vocab - len(special)))
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)


def add_spm(writer, n_vocab):
    special = ["<unk>", "<s>", "</s>"]
    byte_tokens = [f"<0x{b:02X}>" for b in range(256)]
    letters = ["\u2581", *sorted(set(TEXT) - {" "})]
    merged = ["".join(pair) for pair in train_merges("\u2581", n_vocab - 3 - 256 - len(letters))]
    tokens = special + byte_tokens + merged + letters
    assert len(set(tokens)) == n_vocab
    types = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    types += [TokenType.BYTE] * 256 + [TokenType.NORMAL] * (len(merged) + len(letters))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    # Longer pieces that were merged earlier win, as in SentencePiece; letters come last.
    writer.add_token_scores([0.0] * 259 + [-float(rank) for rank in range(len(merged) + len(letters))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)
