"""Decoding on servers with OpenAI's completions API over HTTP, such as vLLM.

Reference: vLLM's OpenAI-compatible server (`/v1/completions` with token ids in and out, `/v1/load_lora_adapter`,
           `/v1/unload_lora_adapter`).

Prompts are sent and responses returned as token ids, so training uses exactly the drawn tokens. The round's adapter is
saved to a folder that the server can read. The server loads it under a name specific to the study and the adapter's
fingerprint. The study's earlier adapters are then unloaded and deleted. No other study uses them, even if it has an
equal adapter on the same server. The reference is the base model under its name on the server. Mixed distributions
(π⁺, π⁻) need both models' logits at each token, which no such server returns. They are rejected with an error before
anything is drawn.

    VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve my-model --enable-lora --max-lora-rank 64

Several servers share the requests (`server_pool`). A request's seed is derived from its place in the round, so which
server answers it changes nothing where servers are deterministic.

A server's sampling is seeded, but not bit for bit reproducible across batches. The responses of a round are stored in
its artifact, and a resumed study reads them from there.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx2

from duelist.errors import ModelError, RecipeError
from duelist.models.decoding.completion_server import CompletionServer, RequestRefused, ServerFailed
from duelist.models.decoding.local import LocalDecoder
from duelist.models.decoding.requests import Decoder, Decoding, ResponseRequest
from duelist.models.decoding.server_config import ServerConfig
from duelist.models.decoding.server_pool import ServerPool
from duelist.models.policy.policy import Policy
from duelist.models.policy.tokenization import check_length, prompt_token_ids, require_chat_template
from duelist.progress import Progress
from duelist.seeding import derived_seed
from duelist.types import Response

LOADABLE = ("policy", "reference")

# A server takes parameters missing from a request from the model's generation_config.json. Here only temperature, top-k
# and top-p shape the distribution.
ALL_TOKENS = -1  # as `top_k`
NOTHING_ELSE = {"min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


class ServerDecoder(Decoder):
    """Decoder for the policy and its reference on servers. A `with` block closes its connections at the end.

    Args:
        config: settings of the servers.
        policy: the policy to draw from.
        study: the study's folder, which distinguishes its adapters from those of other studies.
        transport: transport of the requests; None for the network.
    """

    def __init__(
        self, config: ServerConfig, policy: Policy, study: Path, transport: httpx2.BaseTransport | None = None
    ) -> None:
        if policy.weights.artifact != "adapter":
            raise RecipeError(
                "A server is given the round's adapter, but this policy trains all its parameters: set "
                "`decoder: null` or `policy.adapter: lora`."
            )
        self.config = config
        self.policy = policy
        self.notes: list[str] = []
        owner = hashlib.blake2b(f"{platform.node()}:{study.expanduser().resolve()}".encode(), digest_size=6)
        self._prefix = f"duelist-{owner.hexdigest()}-"
        self._adapters = Path(config.adapter_folder).expanduser().resolve()
        self._still_loaded: dict[str, str] = {}  # why, by server
        self._servers = [CompletionServer(url, config, transport) for url in config.urls]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()

    def draw(
        self, wanted: Sequence[ResponseRequest], how: Decoding, *, round: int, seed: int, progress: Progress, what: str
    ) -> list[Response]:
        beyond = sorted({r.drawn_from for r in wanted} - set(LOADABLE))
        if beyond:
            raise RecipeError(
                f"A server draws from the policy and its reference only, but this sampler draws from "
                f"{', '.join(beyond)}: set `decoder: null` (decoding in this process), or use sampler vanilla, "
                "best_of_n or hybrid."
            )
        try:
            return self._draw(wanted, how, round, seed, progress, what)
        except (ServerFailed, RequestRefused) as error:
            reason = f"{self._who} failed: {str(error).removesuffix('.')}."
            if self.config.on_failure == "stop":
                raise ModelError(
                    f"{reason} Fix it and run the same command again (nothing is lost), or set decoder.on_failure to "
                    "`local` to decode in this process."
                ) from error
            self.notes.append(f"{reason} The responses of round {round} were decoded in this process instead.")
            return LocalDecoder(self.policy).draw(wanted, how, round=round, seed=seed, progress=progress, what=what)

    def _draw(
        self, wanted: Sequence[ResponseRequest], how: Decoding, round: int, seed: int, progress: Progress, what: str
    ) -> list[Response]:
        tokenizer, prompts = self.policy.tokenizer, {r.prompt.id: r.prompt for r in wanted}
        require_chat_template(tokenizer, list(prompts.values()), self.policy.name)
        ids = {i: prompt_token_ids(tokenizer, p) for i, p in prompts.items()}
        for prompt_id, prompt in prompts.items():
            limit = f"max_new_tokens={how.max_new_tokens}"
            check_length(prompt, len(ids[prompt_id]) + how.max_new_tokens, self.policy.context_length, limit)
        names = {name: self._adapter(name) for name in sorted({r.drawn_from for r in wanted})}
        adapters = sorted(set(names.values()) - {self.config.model})
        self._still_loaded.clear()
        servers = ServerPool(
            self._servers, self.config.concurrency, self.config.recheck, partial(self._make_ready, adapters=adapters)
        )
        servers.prepare()
        self._delete_all_but(adapters)
        drawn: list[Response | None] = [None] * len(wanted)
        with (
            progress.stage(what, len(wanted)) as advance,
            ThreadPoolExecutor(self.config.concurrency * len(self._servers)) as pool,
        ):
            under_way = {
                pool.submit(
                    self._complete,
                    servers,
                    names[r.drawn_from],
                    ids[r.prompt.id],
                    how,
                    derived_seed(seed, i) % 2**31,
                ): i
                for i, r in enumerate(wanted)
            }
            try:
                for done in as_completed(under_way):
                    i, token_ids = under_way[done], done.result()
                    request = wanted[i]
                    text = tokenizer.decode(token_ids, skip_special_tokens=True)
                    drawn[i] = Response.of(request.prompt, text, ids[request.prompt.id], token_ids, round)
                    advance(1)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self.notes += servers.failures
        return [r for r in drawn if r is not None]

    def _complete(
        self, servers: ServerPool, model: str, prompt_ids: Sequence[int], how: Decoding, seed: int
    ) -> list[int]:
        content = {
            "model": model,
            "prompt": list(prompt_ids),
            "max_tokens": how.max_new_tokens,
            "temperature": how.temperature,
            "top_p": how.top_p,
            "top_k": ALL_TOKENS if how.top_k is None else how.top_k,
            **NOTHING_ELSE,
            "seed": seed,
            "stop_token_ids": sorted(self.policy.stop_token_ids),
            "return_token_ids": True,
            "add_special_tokens": False,
        }
        return servers.ask(lambda server: self._drawn(server, content, how))

    def _drawn(self, server: CompletionServer, content: Mapping[str, Any], how: Decoding) -> list[int]:
        answer = server.complete(content)
        match answer.get("choices"):
            case [{"token_ids": list(token_ids), "finish_reason": reason}]:
                return self._whole(token_ids, reason, how)
            case [{"finish_reason": _}]:
                raise ModelError(
                    f"The server at {server.url} must return the token ids it drew (`return_token_ids`), but its "
                    "answer has none: what is trained on must be what was drawn. Use a server that can (vLLM from "
                    "0.10.2 on), or set `decoder: null`."
                )
        raise RequestRefused(f"completions must answer with one choice, but came with {str(answer)[:300]}")

    def _whole(self, token_ids: list[Any], finish_reason: Any, how: Decoding) -> list[int]:
        """Return the tokens up to and including the one that ends the response, which some servers omit.

        Raises:
            ServerFailed: if the server stopped in the middle of it.
            RequestRefused: if the response neither ended nor reached the length limit.
        """
        stop, vocabulary = self.policy.stop_token_ids, self.policy.model.config.get_text_config().vocab_size
        cut = token_ids
        if all(isinstance(token, int) and (0 <= token < vocabulary or token in stop) for token in token_ids):
            cut = next((token_ids[: t + 1] for t, token in enumerate(token_ids) if token in stop), token_ids)
            room = how.max_new_tokens - len(cut)
            if room == 0 or (room > 0 and cut and cut[-1] in stop):
                return cut
            if room > 0 and finish_reason == "stop":
                return [*cut, int(self.policy.tokenizer.eos_token_id)]
        failure = ServerFailed if finish_reason == "abort" else RequestRefused  # vLLM aborts when it shuts down
        raise failure(
            f"a response must end, or reach {how.max_new_tokens} of the policy's {vocabulary} tokens, but one of "
            f"{len(cut)} came with finish_reason {finish_reason!r}: {cut[:20]}"
        )

    def _adapter(self, drawn_from: str) -> str:
        """Return the servers' name of the policy or its reference, and write the adapter to where they read it."""
        if drawn_from == "reference" and self.policy.reference_folder is None:
            return self.config.model
        if drawn_from == "reference":
            source = self.policy.reference_folder
            name = f"{self._prefix}reference-{self.policy.fingerprint()}"
        else:
            source = None
            name = f"{self._prefix}{self.policy.fingerprint()}"
        folder = self._adapters / name
        if not folder.is_dir():
            unfinished = folder.with_name(f".{name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            if source is None:
                unfinished.mkdir(parents=True)
                self.policy.save_weights(unfinished)
            else:
                shutil.copytree(source, unfinished)
            unfinished.rename(folder)
        return name

    def _make_ready(self, server: CompletionServer, adapters: Collection[str]) -> None:
        """Load adapters into a server that lacks them, and unload those of this study's earlier rounds.

        Raises:
            ServerFailed: if the server is down.
            ModelError: if it does not serve the base model.
        """
        served = server.models()
        if self.config.model not in served:
            raise ModelError(
                f"decoder.model must be a model of the server at {server.url}, but {self.config.model!r} is not "
                f"among {', '.join(sorted(served)) or 'none'}: correct it."
            )
        for name in sorted(set(adapters) - served):
            server.post("load_lora_adapter", {"lora_name": name, "lora_path": str(self._adapters / name)})
        try:
            for name in sorted(n for n in served if n.startswith(self._prefix) and n not in adapters):
                server.post("unload_lora_adapter", {"lora_name": name})
            self._still_loaded.pop(server.url, None)
        except (ServerFailed, RequestRefused) as error:
            self._still_loaded[server.url] = str(error).removesuffix(".")

    def _delete_all_but(self, in_use: Collection[str]) -> None:
        """Delete the copies of adapters of this study's earlier rounds, unless a server may still read them."""
        for url, reason in self._still_loaded.items():
            self.notes.append(f"Adapters of earlier rounds stay loaded in the server at {url}: {reason}.")
        if not self._still_loaded:
            for folder in self._adapters.glob(f"{self._prefix}*"):
                if folder.name not in in_use:
                    shutil.rmtree(folder, ignore_errors=True)

    @property
    def _who(self) -> str:
        urls = self.config.urls
        return f"The server at {urls[0]}" if len(urls) == 1 else f"All {len(urls)} servers"
