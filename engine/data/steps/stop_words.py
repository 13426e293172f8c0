"""Words that carry little meaning by themselves: articles, pronouns, particles. Lists only, kept short.

Words that deny (not, 不, 没有) are no stop words here: without them a text says the opposite.
"""

from __future__ import annotations

ENGLISH_WORDS = frozenset(
    """
    a about above after again against all am an and any are as at be because been before being below
    between both but by can could did do does doing down during each
    few for from further had has have having he her here hers herself him himself his how i
    i'm i've if in into is it it's its itself just me more most my myself now of off on once only
    or other our ours ourselves out over own same she should so some such than that that's the their
    theirs them themselves then there these they this those through to too under until up very was we were
    what when where which while who whom why will with would you your yours yourself
    yourselves
    """.split()  # noqa: SIM905 - a list of words reads as a paragraph
)
CHINESE_WORDS = frozenset(
    """
    的 了 和 是 就 都 而 及 与 或 着 也 还 又 在 把 被 给 让 向 从 对 对于 关于 由 由于 因 因为 所以 但 但是 然而
    不过 如果 若 虽然 虽 即使 尽管 无论 不管 只要 只有 除非 并 并且 而且 且 以 以及 以便 于 于是 之 其 其中 其他
    此 此外 这 这个 这些 这样 这里 那 那个 那些 那样 那里 我 我们 你 你们 您 他 他们 她 她们 它 它们 自己 咱们 大家
    某 某个 各 各个 每 每个 哪 哪个 哪些 什么 怎么 怎样 如何 为何 为什么 谁 吗 呢 吧 啊 呀 嘛 哦 哈 嗯 啦 哟 得 地
    所 过 个 们 则 却 再 才 很 太 更 最 非常 十分 比较 已 已经 曾 曾经 将 会 能 可以 可 要 应 应该 地 等 等等 上 下
    里 中 内 外 前 后 之间 之后 之前 时 时候 一 一个 一些 一样 一下 有 有的 有些 像 似的 般 按 按照
    根据 通过 经过 随着 为 为了 比 跟 同 连 至 至于 自 自从 到 往 朝 除了 乃 便 即 即便 何 另 另外 凡 仅 只 只是
    """.split()  # noqa: SIM905 - a list of words reads as a paragraph
)
