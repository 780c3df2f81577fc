// Shows only the operations and schemas that contain every word of the search field.
const field = document.getElementById("search");
const items = [...document.querySelectorAll("section.item")].map((element) => ({
  element,
  text: element.textContent.toLowerCase(),
}));
const groups = [...document.querySelectorAll("section.group")];

field.hidden = false;
field.addEventListener("input", () => {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const { element, text } of items) {
    element.hidden = !words.every((word) => text.includes(word));
  }
  for (const group of groups) {
    group.hidden = !group.querySelector("section.item:not([hidden])");
  }
});
