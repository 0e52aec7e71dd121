"""vLLM in processes of its own: what they load of ours, how they start and stop, and what a trainer asks of them."""

#: The name of our weight-transfer engine with vLLM's factory.
FILES = "files"
#: What a server loads of ours, in the words of its flags `--worker-extension-cls` and `--logits-processors`.
EXTENSION = "reasoner.serving.worker.Extension"
BAN = "reasoner.serving.worker:BanVisionTokens"
#: Log-probabilities of the distribution that is sampled from, which the trainer corrects by.
LOGPROBS = "processed_logprobs"
#: Set for a server that ends when its standard input does.
HELD = "REASONER_SERVER_HELD"
