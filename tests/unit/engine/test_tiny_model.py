"""The tiny model is a real one: a chat goes in, a reply comes out, the card says what it is."""

from engine.models.folder import changed_files, read_card


def test_the_tiny_model_answers_through_its_chat_template(tiny_home):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_home.models / "tiny"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello 你好"}], add_generation_prompt=True, return_tensors="pt"
    )
    reply = model.generate(**prompt, max_new_tokens=4, do_sample=False)
    assert (
        tokenizer.decode(prompt["input_ids"][0])
        == "<|im_start|>user\nHello 你好<|im_end|>\n<|im_start|>assistant\n"
    )
    assert reply.shape[1] > prompt["input_ids"].shape[1]
    assert model.config.tie_word_embeddings


def test_its_card_says_what_it_is(tiny_home):
    info = read_card(tiny_home.models / "tiny")
    assert (info.id, info.kind, info.vocabulary_size, info.context_length) == ("tiny", "decoder", 500, 256)
    assert info.num_parameters == 106_048
    assert info.has_chat_template
    assert changed_files(tiny_home.models / "tiny") == []
