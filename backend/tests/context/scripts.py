"""Running text in many scripts and forms, written for these tests: what the estimator is held against."""
# ruff: noqa: RUF001 - letters of their own scripts

PROSE = {
    "English": "The committee met on a rainy Tuesday to discuss whether to restore the old library or to replace it.",
    "German": "Die Donaudampfschifffahrtsgesellschaft beförderte jahrzehntelang Fahrgäste zwischen Wien und Budapest.",
    "French": "L'été dernier, nous avons traversé les Cévennes à vélo ; des châtaigniers nous protégeaient du soleil.",
    "Polish": "Wczoraj późnym wieczorem próbowaliśmy znaleźć właściwą ścieżkę, żeby zdążyć przed świtem na szczyt.",
    "Turkish": "Öğretmenlerimizin görüşlerini dinledikten sonra kararımızı değiştirdik ve çalışmayı erteledik.",
    "Finnish": "Järjestelmällisyydestään huolimatta hän ei löytänyt avaimiaan eteisen pöydältä eikä takkinsa taskusta.",
    "Vietnamese": "Buổi sáng hôm ấy, chúng tôi đã đi bộ qua những cánh đồng lúa để đến ngôi làng nhỏ dưới chân núi.",
    "Russian": "Вчера вечером мы обсуждали, как организовать переезд библиотеки, не закрывая читальный зал.",
    "Greek": "Το απόγευμα περπατήσαμε κατά μήκος της παραλίας και μιλήσαμε για τα σχέδια του καλοκαιριού.",
    "Arabic": "اجتمع المجلس مساء أمس لمناقشة خطة ترميم المكتبة القديمة وتوفير الميزانية اللازمة لذلك.",
    "Hebrew": "אתמול בערב דנו חברי הוועדה בשאלה כיצד לשפץ את הספרייה הישנה מבלי לסגור אותה לקהל הרחב.",
    "Hindi": "कल शाम समिति ने इस बात पर चर्चा की कि पुराने पुस्तकालय की मरम्मत कैसे की जाए।",
    "Thai": "เมื่อวานนี้คณะกรรมการได้ประชุมหารือกันเกี่ยวกับการบูรณะห้องสมุดเก่าโดยไม่ต้องปิดให้บริการ",
    "Georgian": "გუშინ საღამოს კომიტეტმა განიხილა, თუ როგორ აღედგინათ ძველი ბიბლიოთეკა.",
    "Amharic": "ትናንት ማታ ኮሚቴው አሮጌውን ቤተ መጻሕፍት እንዴት እንደሚታደስ ተወያየ።",
    "Chinese": "昨天晚上，委员会讨论了如何在不关闭阅览室的情况下修缮旧图书馆，并决定下个月开始施工。",
    "Japanese": "昨日の夜、委員会は閲覧室を閉鎖せずに古い図書館を修復する方法について話し合った。",
    "Korean": "어젯밤 위원회는 열람실을 닫지 않고 오래된 도서관을 어떻게 보수할 것인지 논의했다.",
}
FORMS = {
    "emoji": "🎉🔥😂👍🏽👨‍👩‍👧‍👦🇩🇪🏴󠁧󠁢󠁥󠁮󠁧󠁿🧑🏾‍🚀✨❤️🥹🫠",
    "Python": "for start, end in windows(document):\n    if count(document[start:end]) > budget:\n        break\n",
    "JSON": '{"id": "0192f0c1-7a5e-7cc3-98c4-dc0c0c07398f", "n": [1, 22, 333], "at": "2026-11-21T11:50:35Z", "a": 1}',
    "JavaScript": "!function(e,t){for(var n=0,r=[];n<e.length;n++)r[n]=t(e[n]^0x5f);return r.join('')}(a,b);",
    "base64": "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO9TXL",
    "log": "2026-11-21 11:50:35,120 WARN  [worker-3] c.e.Service - retry 4/5 in 1250ms for 10.1.24.7:8080\n",
    "table": "| name | count | share |\n|------|------:|------:|\n| alpha | 120 | 3.5 % |\n| beta | 7,311 | 96.5 % |\n",
    "address": "https://example.org/a/long/path/with-slugs_and.files?utm_source=newsletter&id=48213#section-9",
    "capitals": "THE ADMINISTRATION CONSIDERS EXTRAORDINARY MEASURES AbstractProxyFactoryBean getRegistry",
    "mathematics": "∀ε>0 ∃δ>0: |x−a|<δ ⇒ |f(x)−L|<ε; ∑ᵢ₌₁ⁿ xᵢ² ≤ ‖x‖₂·√n, 𝔼[𝑋] = ∫ 𝑥 dμ",
    "blanks": "a    b\t\tc      \n\n\n\n   d          e\n\t\t\tf" + " " * 100,
}
SAMPLES = PROSE | FORMS


def long_document(*, chars: int) -> str:
    """Pages of a report whose paragraphs are numbered, so that a test sees which of them are left."""
    paragraphs, length, number = [], 0, 0
    while length < chars:
        number += 1
        paragraph = (
            f"Paragraph {number}. The committee met again and discussed the restoration of the old library. "
            f"Member {number % 17} asked for {number * 37 % 1000} euros! Would that be enough? Nobody knew."
        )
        paragraphs.append(paragraph)
        length += len(paragraph) + 2
    return "\n\n".join(paragraphs)
