// Loaded before Prefect's UI. The first view shows neither advertisements nor an error that is none.
for (const key of ["prefect-v2-promo-dismissed", "join-the-community-modal-dismissed"]) localStorage.setItem(key, "true");
localStorage.setItem("prefect-show-promotional-content", "false");
const hideOtherUi = () => {
  // Prefect's other UI asks hosts on the Internet. It has no setting that takes its entry out of the menu.
  for (const entry of document.querySelectorAll(".context-sidebar .p-context-nav-item"))
    if (entry.textContent.trim() === "Switch to V2 UI") entry.style.display = "none";
};
new MutationObserver(hideOtherUi).observe(document.documentElement, { childList: true, subtree: true });
if (!localStorage.getItem("prefect-password")) {
  // The UI asks for the server's settings before anybody has logged in, and takes the answer 401 for a fault.
  // Until somebody sends a password, whatever it reports is dismissed.
  const hidden = document.createElement("style");
  hidden.textContent = '[class*="p-toast"] { visibility: hidden }';
  document.head.append(hidden);
  const dismiss = () => document.querySelectorAll('.p-toast button, [class*="p-toast"] button').forEach((button) => button.click());
  const observer = new MutationObserver(dismiss);
  observer.observe(document.documentElement, { childList: true, subtree: true });
  const sent = (event) => {
    if (!event.isTrusted || (event.type === "keydown" && event.key !== "Enter")) return;
    observer.disconnect();
    dismiss();
    setTimeout(() => hidden.remove(), 1000);
    for (const type of ["keydown", "click"]) removeEventListener(type, sent, true);
  };
  for (const type of ["keydown", "click"]) addEventListener(type, sent, true);
}
