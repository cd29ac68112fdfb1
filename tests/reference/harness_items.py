"""Items of our own in the field names of the Hugging Face sets, with the corners that the prompts must get right."""


def ai2(question, choices, key, labels="ABCDE", field="question"):
    return {field: question, "choices": {"text": choices, "label": list(labels[: len(choices)])}, "answerKey": key}


ITEMS = {
    "hellaswag": [
        {"activity_label": "Baking bread", "ctx_a": "A woman kneads dough on a wooden table.", "ctx_b": "the Woman",
         "endings": ["puts the dough into a bowl to rise.", "paints the table in two colours.",
                     "throws the bowl out of the window.", "sleeps [on the sofa] until the bread is gone."], "label": "0"},
        {"activity_label": "Home and Garden", "ctx_a": "[header] How to water plants [title] Check the soil. [step] "
         "Put a finger into the soil.  If it is dry, the plant needs water.", "ctx_b": "",
         "endings": ["[substeps] Pour until water runs out below.", "[title] Sell the plant. [step] Plants are \u00fcberall.",
                     " Leave the plant in the dark for a year. ", "Dry soil makes good bread."], "label": "0"},
        {"ctx": "Fishing: A boy sits by a lake with a rod. he", "endings": [
            "pulls a small fish out of the water.", "eats the rod.", "drives the lake home.", "is a fish."], "label": 0},
    ],
    "openbookqa": [
        ai2("A plant turned its leaves to the window because", ["it needs light", "it is bored", "windows are wet", "it hears birds"],
            "A", field="question_stem"),
        ai2("Ice melts when it is ", ["cold", "warm", "painted", "small"], "B", field="question_stem"),
    ],
    "arc_challenge": [
        ai2("Which of these is a source of heat?", ["ice", "a candle", "a shadow"], "2", labels="123"),
        ai2("Which planet is nearest to the sun?", ["Mars", "Venus", "Mercury", "Jupiter", "Saturn"], "C"),
    ],
    "arc_easy": [
        ai2("What do bees make?", ["honey", "milk", "bread", "wool"], "A"),
        ai2("Which animal can fly?", ["a dog", "a trout", "a sparrow", "a horse"], "C"),
        ai2("Water boils at", ["100 \u00b0C", "10 \u00b0C", "0 \u00b0C", "1,000 \u00b0C"], "1", labels="1234"),
        ai2("What does a thermometer measure?", ["mass", "temperature", "length"], "B"),
        ai2("Roots of a plant take up", ["water", "light", "sound", "wind"], "A"),
    ],
    "piqa": [
        {"goal": "To open a jar with a tight lid,", "sol1": "hold the lid under hot water, then turn it.",
         "sol2": "hold the lid under your bed, then sing to it.", "label": 0},
        {"goal": "How do you keep bread fresh?", "sol1": "Leave it in the rain.", "sol2": "Keep it in a closed bag.", "label": 1},
        {"goal": "Remove a splinter", "sol1": "Use tweezers.", "sol2": "Use a hammer.", "label": 0},
        {"goal": "To dry wet shoes", "sol1": "fill them with water.", "sol2": "fill them with paper. ", "label": 1},
        {"goal": "Stop a door from squeaking. ", "sol1": "Oil the hinges.", "sol2": "Oil the windows.", "label": 0},
    ],
    "winogrande": [
        {"sentence": "The cup did not fit on the shelf because the _ was too tall.", "option1": "cup", "option2": "shelf", "answer": "1"},
        {"sentence": "_ lent Ben a coat, and Tom was warm without it.", "option1": "Tom", "option2": "Ben", "answer": "1"},
        {"sentence": "Ann thanked Eve because _  helped her.", "option1": "Ann", "option2": "Eve", "answer": "2"},
    ],
    "boolq": [
        {"passage": "A whale is a mammal that lives in the sea. It breathes air.", "question": "is a whale a fish", "label": 0},
        {"passage": "Chess is played by two people on a board of 64 squares.", "question": "do two people play chess", "label": 1},
        {"passage": "The bridge was closed in May and opened again in June.", "question": "was the bridge closed in may", "label": 1},
        {"passage": "Snow falls when water vapour freezes in clouds.", "question": "is snow made of salt", "label": 0},
        {"passage": "Tea is made from leaves. Coffee is made from roasted seeds.", "question": "is coffee made from leaves", "label": 0},
    ],
}  # fmt: skip
