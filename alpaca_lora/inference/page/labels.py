"""Every text of the page, in English and in Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

LANGUAGES = (("English", "en"), ("中文", "zh"))
"""What each language calls itself, and its code."""

WORDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "base_model": ("Base model: {name}", "基座模型：{name}"),
        "base": ("base, without adapter", "基座（无适配器）"),
        "language": ("Language", "语言"),
        "refresh": ("Look for new adapters", "查找新适配器"),
        "instruct": ("Instruct", "指令"),
        "chat": ("Chat", "对话"),
        "compare": ("Compare", "对比"),
        "instruction": ("Instruction", "指令"),
        "instruction_info": ("Enter sends, Shift+Enter begins a line, Esc stops", "回车发送，Shift+回车换行，Esc 停止"),
        "input": ("Input", "输入"),
        "input_info": ("Further context, may stay empty", "补充内容，可留空"),
        "adapter": ("Adapter", "适配器"),
        "answers_of": ("Models to compare", "参与对比的模型"),
        "settings": ("How answers are drawn", "生成设置"),
        "temperature": ("Temperature", "温度"),
        "temperature_info": ("0: the likeliest token each time", "0：每次取概率最高的词元"),
        "top_p": ("Top p", "Top p"),
        "top_p_info": ("Among the tokens that hold this share; 0: the likeliest", "累积概率范围；0：只取最可能的词元"),
        "top_k": ("Top k", "Top k"),
        "top_k_info": ("Among this many tokens; 0: among all", "候选词元个数；0：不限"),
        "beams": ("Beams", "束数"),
        "beams_info": ("Above 1 the text comes at the end", "大于 1 时文本在结束后显示"),
        "max_tokens": ("Max tokens", "最大词元数"),
        "max_tokens_info": ("Longest answer", "回答的最大长度"),
        "seed": ("Seed", "随机种子"),
        "seed_info": ("The same one draws the same answer", "相同种子得到相同回答"),
        "stream": ("Stream the answer", "流式输出"),
        "stream_info": ("Show it as it grows", "边生成边显示"),
        "send": ("Send", "发送"),
        "stop_button": ("Stop", "停止"),
        "exact_prompt": ("The exact prompt sent", "实际发送的提示"),
        "examples": ("Examples", "示例"),
        "system": ("System text", "系统提示"),
        "system_info": ("Stands before the conversation", "置于对话之前"),
        "message": ("Message", "消息"),
        "conversation": ("Conversation", "对话"),
        "clear": ("New conversation", "新对话"),
        "export": ("Save as training row", "导出为训练数据"),
        "compare_button": ("Compare", "对比"),
        "marked": (
            "Marked: words that differ from the first answer, in the first from the second",
            "高亮：与第一个回答不同之处；第一个则与第二个比较",
        ),
        "vote": ("Which answer is best?", "哪个回答最好？"),
        "alike": ("none is better", "不相上下"),
        "save_vote": ("Save the vote", "保存投票"),
        "saved": ("Saved in {path}", "已保存到 {path}"),
        "no_vote": ("Choose an answer first", "请先选择一个回答"),
        "no_models": ("Choose at least one model", "请至少选择一个模型"),
        "no_text": ("Type something first", "请先输入内容"),
        "no_conversation": ("There is no answer to save yet", "还没有可导出的回答"),
        "no_seed": ("The seed must be a whole number of at least 0", "随机种子必须是不小于 0 的整数"),
        "busy": ("Too many people are asking: try again in a moment", "请求过多，请稍后再试"),
        "failed": ("The answer ended with an error", "生成出错"),
        "before": ("{count} before you", "前面还有 {count} 人"),
        "others_wait": ("{count} waiting", "{count} 人排队"),
        "searching": (
            "beam search for {seconds:.0f} s; the text comes at its end",
            "束搜索 {seconds:.0f} 秒；结束后显示",
        ),
        "tokens": ("{count} tokens", "{count} 个词元"),
        "prompt_tokens": ("prompt {count} ({reused} reused)", "提示 {count}（复用 {reused}）"),
        "speed": ("{speed:.1f} tokens/s", "{speed:.1f} 词元/秒"),
        "first": ("first after {seconds:.2f} s", "首个词元 {seconds:.2f} 秒"),
        "stop": ("done", "完成"),
        "length": ("cut at the limit", "已达长度上限"),
        "cancelled": ("stopped", "已停止"),
    }
)


def say(language: str, key: str, **values: Any) -> str:
    """Give a text in `en` or `zh`, its fields filled in."""
    return WORDS[key][language == "zh"].format(**values)
