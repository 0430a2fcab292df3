"""The agents of one load: who they are, how often each acts, what they need; the ``agents`` workload.

Each shard has a lane with its own dice, so a shard's plan does not depend on how the other's went. With a rate,
transactions are due at random times (a Poisson process, open loop); without one they are all due at once and the
window of the generator paces them (closed loop, for benches).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from primitives.errors import LocalError
from shards.genesis import QUOTE
from shards.transactions import Side
from testnet.directory import Network
from testnet.workloads.agents import (
    Agent,
    ClientIds,
    Gambler,
    Hedger,
    MarketMaker,
    Taker,
)
from testnet.workloads.market_terms import MarketTerms, list_markets
from testnet.workloads.options import MAX_ACTIONS_PER_TRANSACTION, LoadOptions
from testnet.workloads.plan import FundingNeed, Lane, PlannedTransaction
from testnet.workloads.price_paths import PricePath

REQUIRED_CASH: Final = 1_000_000 * QUOTE
"""Of an agent on its shard: a thousand times a typical order."""
HEDGER_CASH: Final = 100_000 * QUOTE
"""Of a hedger on the other shard."""


@dataclass(frozen=True, slots=True)
class AgentMix:
    """Of sixteen accounts on a shard, how many play which part; and how often each acts, relatively."""

    makers: int = 6
    takers: int = 5
    hedgers: int = 2
    gamblers: int = 3
    maker_weight: float = 6.0
    taker_weight: float = 3.0
    hedger_weight: float = 1.0
    gambler_weight: float = 0.5

    @property
    def total(self) -> int:
        return self.makers + self.takers + self.hedgers + self.gamblers


DEFAULT_MIX: Final = AgentMix()
TRADING_MIX: Final = AgentMix(makers=10, takers=6, hedgers=0, gamblers=0)
"""Makers and takers alone: for benches, where every transaction has exactly the asked number of actions."""


class AgentWorkload:
    """See ``plan.Workload``; ``is_calm`` keeps prices where they start."""

    ordered = False

    def __init__(
        self,
        network: Network,
        options: LoadOptions,
        first_client_id: int,
        *,
        mix: AgentMix = DEFAULT_MIX,
        is_calm: bool = False,
    ) -> None:
        self._options = options
        self._markets = {shard: list_markets(network.genesis, shard) for shard in network.venues}
        self._paths = {
            (terms.shard, terms.market): PricePath(
                options.seed, terms.symbol, terms.reference_ticks, is_calm=is_calm
            )
            for markets in self._markets.values()
            for terms in markets
        }
        ids = ClientIds(first_client_id)
        self._agents = {shard: self._cast(network, shard, mix, ids) for shard in network.venues}
        self._weights = mix

    def list_needs(self) -> Sequence[FundingNeed]:
        needs = []
        for shard, agents in self._agents.items():
            for agent in agents:
                needs.append(FundingNeed(shard, agent.account, REQUIRED_CASH))
                match agent:
                    case Hedger(away=away):
                        needs.append(FundingNeed(away[0].shard, agent.account, HEDGER_CASH))
                    case _:
                        pass
        return needs

    def derive_seeds(self) -> Mapping[bytes, bytes]:
        return {}

    def build_lanes(self) -> Sequence[Lane]:
        return [Lane(f"shard{shard}", self._generate(shard)) for shard in self._agents]

    def compute_oracle_prices(self, shard: int, elapsed_s: float) -> Mapping[int, int]:
        return {
            terms.market: self._paths[shard, terms.market].compute_price(elapsed_s)
            for terms in self._markets[shard]
        }

    def list_topics(self, shard: int) -> Sequence[str]:
        return ()

    def on_message(self, shard: int, message: Mapping[str, Any]) -> None:
        """Nothing is subscribed."""

    def on_outcome(self, plan: PlannedTransaction, code: str) -> None:
        """The plan does not depend on it."""

    def describe(self) -> dict[str, Any]:
        kinds = [type(agent).__name__ for agents in self._agents.values() for agent in agents]
        return {"agents": {kind: kinds.count(kind) for kind in sorted(set(kinds))}}

    def _cast(self, network: Network, shard: int, mix: AgentMix, ids: ClientIds) -> list[Agent]:
        """Give out the parts: by turns, so that a shard with few accounts still has makers and takers first."""
        accounts = [entry.address for entry in network.accounts_of(shard)]
        markets = self._markets[shard]
        if len(accounts) < 2 or not markets:
            raise LocalError(f"shard {shard} has {len(accounts)} test accounts and {len(markets)} markets: too few")
        others = [number for number in network.venues if number != shard and self._markets[number]]
        hedgers = mix.hedgers if others else 0
        parts = _list_parts(len(accounts), mix, hedgers)
        agents: list[Agent] = []
        for index, (account, part) in enumerate(zip(accounts, parts, strict=True)):
            match part:
                case "maker":
                    agents.append(MarketMaker(account, markets, ids))
                case "hedger":
                    agents.append(Hedger(account, markets, self._markets[others[index % len(others)]]))
                case "gambler":
                    agents.append(Gambler(account, markets, Side.BUY if index % 2 else Side.SELL))
                case _:
                    agents.append(Taker(account, markets))
        return agents

    def _generate(self, shard: int) -> Iterator[PlannedTransaction]:
        options = self._options
        dice = random.Random(f"agents:{options.seed}:{shard}")
        agents = self._agents[shard]
        weights = list(accumulate([_weigh(agent, self._weights) for agent in agents]))
        rate = options.rate / len(self._agents)
        size = min(options.actions_per_tx, MAX_ACTIONS_PER_TRANSACTION)
        now_s = 0.0
        while True:
            now_s += dice.expovariate(rate) if rate else 0.0

            def price(terms: MarketTerms, now_s: float = now_s) -> int:
                return self._paths[terms.shard, terms.market].compute_price(now_s)

            agent = dice.choices(agents, cum_weights=weights)[0]
            batch = agent.decide(dice, price, size)
            due_s = now_s if rate else None
            yield PlannedTransaction(due_s, batch.shard, agent.account, batch.actions, batch.subaccount)


def open_agents(network: Network, options: LoadOptions, first_client_id: int) -> AgentWorkload:
    """The workload that the options describe; raises ``LocalError``."""
    if options.rate <= 0:
        raise LocalError(f"--rate must be above 0 transactions a second, not {options.rate:g}")
    if not network.venues:
        raise LocalError("this network has no venue, only no-op shards: use --workload opaque")
    return AgentWorkload(network, options, first_client_id)


def _list_parts(accounts: int, mix: AgentMix, hedgers: int) -> list[str]:
    """One part for each account, in the proportions of ``mix``; whatever is missing are takers."""
    scale = accounts / mix.total
    parts = ["maker"] * max(1, round(mix.makers * scale))
    parts += ["taker"] * max(1, round(mix.takers * scale))
    parts += ["hedger"] * round(hedgers * scale)
    parts += ["gambler"] * round(mix.gamblers * scale)
    return (parts + ["taker"] * accounts)[:accounts]


def _weigh(agent: Agent, mix: AgentMix) -> float:
    match agent:
        case MarketMaker():
            return mix.maker_weight
        case Hedger():
            return mix.hedger_weight
        case Gambler():
            return mix.gambler_weight
        case _:
            return mix.taker_weight
